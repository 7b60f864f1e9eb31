import { html, type TemplateResult } from "lit-html";
import type { Device } from "../device/device";
import { bytes, shortHash } from "../format";
import { icon } from "../icons";
import { baseName, pathOf } from "../keys";
import { Part } from "../part";

/** A file that is no text: what can be said of it, and a way to have it. */
export class BinaryView extends Part {
  #hash = "";
  readonly destroy: () => void;

  constructor(el: HTMLElement, private readonly device: Device, private readonly key: string) {
    super(el);
    this.destroy = device.on("changed", ({ keys }) => {
      if (keys.includes(key)) void this.#sum();
    });
    void this.#sum();
  }

  focus(): void {
    this.el.querySelector("button")?.focus();
  }

  protected view(): TemplateResult {
    const content = this.device.client.bytes(this.key);
    return html`
      <div class="centred">
        <h2>${baseName(pathOf(this.key))}</h2>
        <p class="hint">Not text: it is synced byte for byte, and never merged.</p>
        <p>${bytes(content?.length ?? 0)} · SHA-256 <code title=${this.#hash}>${shortHash(this.#hash)}</code></p>
        <button class="button" @click=${() => this.#download()}>${icon("down")} Download</button>
      </div>`;
  }

  async #sum(): Promise<void> {
    const content = this.device.client.bytes(this.key);
    if (!content) return;
    const digest = await crypto.subtle.digest("SHA-256", Uint8Array.from(content));
    this.#hash = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.update();
  }

  #download(): void {
    const content = this.device.client.bytes(this.key);
    if (!content) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([Uint8Array.from(content)]));
    link.download = baseName(pathOf(this.key));
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
