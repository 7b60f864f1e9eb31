import type { Version } from "@nself/sync";
import { html, type TemplateResult } from "lit-html";
import type { Device } from "../device/device";
import { icon } from "../icons";
import { element, Part } from "../part";
import { ActivityList } from "./activity";
import { Problems } from "./problems";
import { Versions } from "./versions";

const TABS = ["activity", "versions", "problems"] as const;
export type PanelTab = (typeof TABS)[number];
const TITLES: Record<PanelTab, string> = { activity: "Activity", versions: "Versions", problems: "Problems" };

/** The strip at the bottom: what happened, versions, problems. */
export class Panel extends Part {
  readonly #head = element("panel-head");
  readonly #bodies: Record<PanelTab, HTMLElement>;
  readonly #versions: Versions;
  #tab: PanelTab = "activity";
  #isOpen = true;

  constructor(el: HTMLElement, private readonly device: Device, look: (key: string, version: Version) => void) {
    super(el);
    const body = (tab: PanelTab): HTMLElement => element("panel-body", { role: "tabpanel", "aria-label": TITLES[tab], tabindex: "0" });
    this.#bodies = { activity: body("activity"), versions: body("versions"), problems: body("problems") };
    el.append(this.#head, ...Object.values(this.#bodies));
    new ActivityList(this.#bodies.activity, device).update();
    new Problems(this.#bodies.problems, device).update();
    this.#versions = new Versions(this.#bodies.versions, device, look);
    this.#versions.update();
    device.on("problems", () => this.update());
    this.#arrange();
  }

  setKey(key: string): void {
    this.#versions.setKey(key);
  }

  toggle(isOpen = !this.#isOpen): void {
    this.#isOpen = isOpen;
    this.#arrange();
  }

  show(tab: PanelTab): void {
    this.#tab = tab;
    this.toggle(true);
  }

  focus(): void {
    this.#head.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
  }

  protected override get target(): HTMLElement {
    return this.#head;
  }

  protected view(): TemplateResult {
    const problems = this.device.problems.length;
    return html`
      <div class="panel-tabs" role="tablist" aria-label="History" @keydown=${this.#onKey}>
        ${TABS.map((tab) => html`
          <button role="tab" aria-selected=${String(tab === this.#tab)} tabindex=${tab === this.#tab ? 0 : -1} @click=${() => this.show(tab)}>
            ${TITLES[tab]}${tab === "problems" && problems > 0 ? html` <span class="count">${problems}</span>` : ""}
          </button>`)}
      </div>
      <button class="quiet ${this.#isOpen ? "" : "turned"}" title="Show or hide (Ctrl+J)" aria-label="Show or hide the panel" aria-expanded=${String(this.#isOpen)} @click=${() => this.toggle()}>${icon("chevron")}</button>`;
  }

  #arrange(): void {
    this.el.classList.toggle("folded", !this.#isOpen);
    for (const tab of TABS) this.#bodies[tab].hidden = !this.#isOpen || tab !== this.#tab;
    this.#versions.setShown(this.#isOpen && this.#tab === "versions");
    this.update();
  }

  #onKey = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const next = TABS[(TABS.indexOf(this.#tab) + step + TABS.length) % TABS.length];
    if (step === 0 || !next) return;
    this.show(next);
    queueMicrotask(() => this.focus());
  };
}
