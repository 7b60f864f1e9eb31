import type { Version } from "@nself/sync";
import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import { messageOf, nameOf, shortDevice, type Device } from "../device/device";
import { ago, shortHash } from "../format";
import { icon } from "../icons";
import { isDocument } from "../keys";
import { Part } from "../part";

const CAUSES: Record<Version["cause"], string> = {
  push: "pushed",
  merge: "merged",
  resolve: "resolution",
  superseded: "lost, kept",
  conflict: "conflict, kept",
};

/** The versions of the open document that the server keeps, also those that lost. */
export class Versions extends Part {
  #key = "";
  #versions: Version[] = [];
  #note = "";
  #isShown = false;

  constructor(el: HTMLElement, private readonly device: Device, private readonly look: (key: string, version: Version) => void) {
    super(el);
    device.on("activity", () => this.#isShown && void this.#load());
  }

  setKey(key: string): void {
    // Of what is no document, and where nothing is open, the last one's versions stay.
    if (key === this.#key || !isDocument(key)) return;
    this.#key = key;
    this.#versions = [];
    if (this.#isShown) void this.#load();
    this.update();
  }

  setShown(isShown: boolean): void {
    this.#isShown = isShown;
    if (isShown) void this.#load();
  }

  protected view(): TemplateResult {
    if (!this.#key) return html`<p class="hint">Open a file or page to see its versions.</p>`;
    if (this.#note) return html`<p class="hint">${this.#note}</p>`;
    if (this.#versions.length === 0) return html`<p class="hint">The server has no version of ${nameOf(this.#key)} yet.</p>`;
    return html`
      <ol class="log" aria-label="Versions of ${nameOf(this.#key)}, newest first">
        ${repeat(this.#versions, (version) => `${version.seq}${version.cause}${version.hash ?? ""}`, (version, at) => this.#row(version, at === 0))}
      </ol>`;
  }

  #row(version: Version, isNewest: boolean): TemplateResult {
    const { seq, device_id, created_at, cause, hash } = version;
    return html`
      <li class="log-row">
        <span class="log-seq">seq ${seq}</span>
        <span class="log-kind">${CAUSES[cause]}</span>
        <span class="log-what"><span class="device-id">${device_id === this.device.client.deviceId ? "this device" : shortDevice(device_id)}</span> <span class="aside">${isNewest ? "the newest, " : ""}${ago(created_at)}${hash ? "" : " · removed"}</span></span>
        ${hash ? html`
          <code class="aside" title=${hash}>${shortHash(hash)}</code>
          <span class="log-tools">
            <button class="quiet" title="Compare with what is here now" @click=${() => this.look(this.#key, version)}>Compare</button>
            <button class="quiet" title="Write this version anew" aria-label="Restore seq ${seq}" @click=${() => this.#restore(hash)}>${icon("restore")}</button>
          </span>` : nothing}
      </li>`;
  }

  async #load(): Promise<void> {
    const key = this.#key;
    if (!key) return;
    try {
      const versions = await this.device.client.history(key);
      if (key !== this.#key) return;
      this.#versions = versions;
      this.#note = "";
    } catch (error) {
      this.#note = `The server has the versions, and cannot be asked now: ${messageOf(error)}`;
    }
    this.update();
  }

  async #restore(hash: string): Promise<void> {
    try {
      this.device.write(this.#key, await this.device.client.content(hash), "elsewhere");
    } catch (error) {
      this.device.toast(messageOf(error), "bad");
    }
  }
}
