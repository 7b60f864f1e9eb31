import { html, nothing, type TemplateResult } from "lit-html";
import type { Status } from "@nself/sync";
import { shortDevice, type Device } from "../device/device";
import { plural } from "../format";
import { icon } from "../icons";
import { Part } from "../part";

const SAYS: Record<Status, { text: string; means: string }> = {
  pending: { text: "Saved here", means: "Safe on this device, not yet on the server." },
  syncing: { text: "Syncing", means: "Talking to the server." },
  synced: { text: "Synced", means: "Everything of this device is on the server’s disk." },
  offline: { text: "Offline", means: "The server cannot be reached. Go on working; it catches up by itself." },
  blocked: { text: "Blocked", means: "A conflict of this device’s waits for a decision; until then the server takes nothing else from it." },
  unsaved: { text: "Not saved", means: "This browser could not write to its disk. What you edit is in memory, and tried again." },
  moved: { text: "Moved", means: "Another server serves this user now. What you edit stays here until that one is reached." },
  unauthorised: { text: "Signed out", means: "The server does not accept this device’s token. What you edit stays here." },
};

export interface BarActions {
  showConflict(): void;
  showProblems(): void;
  signIn(): void;
}

/** The live state, as it is. */
export class StatusBar extends Part {
  #about = "";

  constructor(el: HTMLElement, private readonly device: Device, private readonly actions: BarActions) {
    super(el);
    for (const topic of ["status", "conflicts", "activity", "problems"] as const) device.on(topic, () => this.update());
  }

  /** Line, column, line ends, language of what is open. */
  setAbout(about: string): void {
    if (about === this.#about) return;
    this.#about = about;
    this.update();
  }

  protected view(): TemplateResult {
    const { client, status } = this.device;
    const pending = this.device.pending().size;
    const conflicts = this.device.conflicts().length;
    const rejected = this.device.rejectedCount;
    const isOff = !client.online;
    const { text, means } = SAYS[status];
    return html`
      <button class="state ${status}" title="${means} Ctrl+S pushes and pulls now." @click=${() => this.device.sync()}>
        <span class="state-dot"></span><span role="status" aria-live="polite">${text}${pending > 0 ? ` · ${pending} pending` : ""}</span>
      </button>
      ${status === "unauthorised" ? html`<button class="bar-action bad" @click=${() => this.actions.signIn()}>Sign in</button>` : nothing}
      ${conflicts > 0 ? html`<button class="bar-action bad" title="F8" @click=${() => this.actions.showConflict()}>${icon("clash")} ${plural(conflicts, "conflict")}</button>` : nothing}
      ${rejected > 0 ? html`<button class="bar-action bad" title="Edits that the server does not take: they are on this device only" @click=${() => this.actions.showProblems()}>${icon("bolt")} ${rejected} not taken</button>` : nothing}
      <span class="bar-item seq" title="The server’s counter, as far as this device has it">seq ${this.device.seq}</span>
      <span class="spring"></span>
      <span class="bar-item about">${this.#about}</span>
      <span class="bar-item device-id" title="This device: ${client.deviceId}">${shortDevice(client.deviceId)}</span>
      <button class="switch" role="switch" aria-checked=${String(isOff)} title="Cut this device off (Alt+O)" @click=${() => this.device.setOnline(isOff)}>
        <span class="switch-track"><span class="switch-knob"></span></span> Offline
      </button>`;
  }
}
