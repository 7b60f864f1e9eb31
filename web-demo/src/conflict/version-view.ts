import type { Version } from "@nself/sync";
import { html, nothing, type TemplateResult } from "lit-html";
import { messageOf, nameOf, shortDevice, type Device } from "../device/device";
import { loadLanguage } from "../editor/languages";
import { parse } from "../editor/line-ends";
import { ago } from "../format";
import { icon } from "../icons";
import { baseName, isPage } from "../keys";
import { element, Part } from "../part";
import { Comparison } from "./comparison";

/** An older version beside what is here now. */
export class VersionView extends Part {
  readonly #head = element("conflict-head");
  readonly #body = element("conflict-body");
  #comparison: Comparison | null = null;
  #error = "";

  constructor(el: HTMLElement, private readonly device: Device, private readonly key: string, private readonly version: Version) {
    super(el);
    this.el.append(this.#head, this.#body);
    this.#load().catch((error: unknown) => {
      this.#error = messageOf(error);
      this.update();
    });
  }

  focus(): void {
    this.#comparison?.focus();
  }

  destroy(): void {
    this.#comparison?.destroy();
  }

  protected override get target(): HTMLElement {
    return this.#head;
  }

  protected view(): TemplateResult {
    const { seq, created_at, device_id } = this.version;
    return html`
      <div class="conflict-title">
        <h2>${icon("restore")} ${nameOf(this.key)}</h2>
        <span class="aside">seq ${seq} from ${shortDevice(device_id)}, ${ago(created_at)}, at the left · now at the right</span>
      </div>
      ${this.#error ? html`<p class="error" role="alert">${this.#error}</p>` : nothing}`;
  }

  async #load(): Promise<void> {
    const { hash } = this.version;
    if (!hash) return;
    const content = await this.device.client.content(hash);
    const old = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    const now = parse(this.device.client.text(this.key) ?? "");
    this.#comparison = new Comparison({
      layout: "beside",
      other: parse(old).doc,
      result: now.doc,
      shape: now.shape,
      language: await loadLanguage(baseName(this.key), isPage(this.key)),
      otherLabel: `Version of ${this.key} at seq ${this.version.seq}`,
      resultLabel: `${this.key} now`,
    });
    this.#body.append(this.#comparison.host);
  }
}
