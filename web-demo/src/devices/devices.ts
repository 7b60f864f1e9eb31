import type { Device as Registered } from "@nself/sync";
import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import { codeOf, messageOf, shortDevice, type Device } from "../device/device";
import { ago } from "../format";
import { icon } from "../icons";
import { Part } from "../part";
import { confirmed } from "../ui/dialog";

const REFRESH_MS = 15_000;

/** The user's devices as the server knows them, each with a way to remove it. */
export class Devices extends Part {
  #devices: Registered[] = [];
  #error: unknown = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(el: HTMLElement, private readonly device: Device, private readonly signIn: () => void) {
    super(el);
    device.on("status", () => {
      if (this.#timer !== undefined && device.status === "synced") void this.#load();
    });
  }

  /** Asks the server only while somebody looks. */
  setShown(isShown: boolean): void {
    clearInterval(this.#timer);
    this.#timer = isShown ? setInterval(() => void this.#load(), REFRESH_MS) : undefined;
    if (isShown) void this.#load();
    this.update();
  }

  protected view(): TemplateResult {
    return html`
      <header class="section-head">
        <h2>Devices</h2>
        <button class="quiet" title="Ask the server again" aria-label="Ask the server again" @click=${() => this.#load()}>${icon("sync")}</button>
      </header>
      <ul class="cards" aria-label="Devices">
        ${repeat(this.#devices, (device) => device.device_id, (device) => this.#card(device))}
      </ul>
      ${this.#error ? html`<p class="error" role="alert">${messageOf(this.#error)}</p>` : nothing}
      ${codeOf(this.#error) === "unauthorised" ? html`<button class="button" @click=${() => this.signIn()}>Sign in</button>` : nothing}
      ${!this.#error && this.#devices.length === 0 ? html`<p class="hint">None registered yet: a device is, with its first push.</p>` : nothing}`;
  }

  #card({ device_id, platform, last_seen, seq, blocked }: Registered): TemplateResult {
    const isThis = device_id === this.device.client.deviceId;
    return html`
      <li class="card ${isThis ? "current" : ""}">
        <div class="card-main">
          <strong class="device-id" title=${device_id}>${shortDevice(device_id)}</strong>
          <span class="aside">${platform} · seq ${seq} · ${ago(last_seen)}</span>
          <span class="chips">
            ${isThis ? html`<span class="chip">this device</span>` : nothing}
            ${blocked ? html`<span class="chip warn">blocked</span>` : nothing}
          </span>
        </div>
        <button class="quiet" title="Remove this device" aria-label="Remove ${shortDevice(device_id)}" @click=${() => this.#remove(device_id, isThis)}>${icon("trash")}</button>
      </li>`;
  }

  async #load(): Promise<void> {
    try {
      this.#devices = await this.device.client.devices();
      this.#error = null;
    } catch (error) {
      this.#error = error;
    }
    this.update();
  }

  async #remove(id: string, isThis: boolean): Promise<void> {
    const detail = isThis
      ? "This device’s token ends at once. What it has not pushed stays here."
      : "Its token ends at once. What it has not pushed stays on it.";
    if (!(await confirmed(`Remove ${shortDevice(id)}?`, detail, "Remove"))) return;
    try {
      await this.device.client.removeDevice(id);
    } catch (error) {
      this.device.toast(messageOf(error), "bad");
    }
    await this.#load();
  }
}
