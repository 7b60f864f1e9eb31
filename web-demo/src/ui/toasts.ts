import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import type { Device } from "../device/device";
import { icon } from "../icons";
import { Part } from "../part";

/** Short notices over the editor, said by screen readers too. */
export class Toasts extends Part {
  constructor(el: HTMLElement, private readonly device: Device) {
    super(el);
    device.on("toasts", () => this.update());
  }

  protected view(): TemplateResult {
    return html`${repeat(this.device.toasts, ({ id }) => id, ({ id, text, kind, action }) => html`
      <div class="toast ${kind}" role=${kind === "bad" ? "alert" : "status"}>
        <span>${text}</span>
        ${action ? html`<button class="button" @click=${() => { this.device.dismiss(id); action.run(); }}>${action.label}</button>` : nothing}
        <button class="quiet" aria-label="Dismiss" @click=${() => this.device.dismiss(id)}>${icon("close")}</button>
      </div>`)}`;
  }
}
