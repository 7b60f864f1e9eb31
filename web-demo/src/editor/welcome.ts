import { html, type TemplateResult } from "lit-html";
import type { Device } from "../device/device";
import { icon } from "../icons";
import { Part } from "../part";
import { addSample } from "../sample";

export interface WelcomeActions {
  newFile(): void;
  openSample(key: string): void;
}

/** Shown where no tab is open; on an empty account it offers something to begin with. */
export class Welcome extends Part {
  constructor(el: HTMLElement, private readonly device: Device, private readonly actions: WelcomeActions) {
    super(el);
    for (const topic of ["changed", "status"] as const) device.on(topic, () => !el.hidden && this.update());
  }

  protected view(): TemplateResult {
    if (!this.device.isEmpty()) {
      return html`
        <div class="centred">
          <p class="hint">Open a file from the tree, or find one with <kbd>Ctrl</kbd> <kbd>P</kbd>.</p>
        </div>`;
    }
    const isAsking = this.device.status === "syncing" && this.device.seq === undefined;
    return html`
      <div class="centred welcome">
        <h2>${isAsking ? "Looking what is there" : "An empty workspace"}</h2>
        <p class="hint">Everything you make here is kept in this browser at once, and is on your other devices a moment later. Offline it waits.</p>
        <div class="welcome-buttons">
          <button class="button primary" @click=${() => this.actions.openSample(addSample(this.device))}>${icon("files")} Start with a sample project</button>
          <button class="button" @click=${() => this.actions.newFile()}>${icon("plus")} New file</button>
        </div>
      </div>`;
  }
}
