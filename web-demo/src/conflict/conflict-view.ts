import type { Conflict, DocumentSide } from "@nself/sync";
import type { Text } from "@codemirror/state";
import { html, nothing, type TemplateResult } from "lit-html";
import { codeOf, messageOf, nameOf, shortDevice, type Device } from "../device/device";
import { loadLanguage } from "../editor/languages";
import { parse, type Shape } from "../editor/line-ends";
import { ago, bytes, plural, shortHash } from "../format";
import { icon } from "../icons";
import { baseName, isPage } from "../keys";
import { element, Part } from "../part";
import { compose, type Start } from "./compose";
import { Comparison, type Layout } from "./comparison";

type Against = "theirs" | "mine" | "base";
const NARROW_PX = 620;
/** For how long a decision is not taken after theirs has moved on. */
const LOOK_MS = 700;

/** One conflict: three versions, and a result that the person makes of them. */
export class ConflictView extends Part {
  readonly #head = element("conflict-head");
  readonly #body = element("conflict-body");
  #comparison: Comparison | null = null;
  #start: Start | null = null;
  #against: Against;
  #layout: Layout | null = null;
  /** When theirs moved on last, by the page's clock. */
  #movedAt: number | null = null;
  #error = "";
  #isBusy = false;

  constructor(el: HTMLElement, private readonly device: Device, private conflict: Conflict, private readonly done: () => void) {
    super(el);
    this.el.append(this.#head, this.#body);
    this.#against = conflict.theirs ? "theirs" : "base";
    void this.#compare();
  }

  get id(): string {
    return this.conflict.id;
  }

  /** What the conflict is by now: *theirs* may have moved on while somebody was deciding. */
  refresh(conflict: Conflict): void {
    const hasMoved = conflict.theirs?.hash !== this.conflict.theirs?.hash;
    this.conflict = conflict;
    if (hasMoved) this.#showMoved();
    this.update();
  }

  focus(): void {
    if (this.#comparison) this.#comparison.focus();
    else this.#head.querySelector("button")?.focus();
  }

  destroy(): void {
    this.#comparison?.destroy();
  }

  protected override get target(): HTMLElement {
    return this.#head;
  }

  protected view(): TemplateResult {
    const { conflict } = this;
    return html`
      <div class="conflict-title">
        <h2>${icon("clash")} ${nameOf(conflict.key)}</h2>
        <span class="aside">two versions that do not merge · ${ago(conflict.createdAt)}</span>
      </div>
      <div class="sides">
        ${this.#side("mine", conflict.mine, conflict.mineDevice)}
        ${this.#side("theirs", conflict.theirs, conflict.theirsDevice)}
      </div>
      ${this.#movedAt !== null ? html`<p class="notice warn" role="status">${icon("clash")} <span><strong>${this.#name("theirs")} has moved on</strong> while you were deciding. It is shown as it is now; look again, then decide.</span>
        <button class="button" @click=${() => this.#resolve("merged", true)} ?disabled=${!this.#isText()} title="Makes the result the newest version; theirs is kept as a conflict of its own">Save over it</button></p>` : nothing}
      ${this.#error ? html`<p class="error" role="alert">${this.#error}</p>` : nothing}
      <div class="conflict-bar">
        ${this.#isText() ? this.#tools() : html`<span class="hint">${this.#binaryHint()}</span>`}
        <span class="spring"></span>
        <button class="button mine" ?disabled=${this.#isBusy} @click=${() => this.#resolve("mine")}>Keep ${this.#said("mine")}${conflict.mine ? "" : " (delete)"}</button>
        <button class="button theirs" ?disabled=${this.#isBusy} @click=${() => this.#resolve("theirs")}>Keep ${this.#said("theirs")}${conflict.theirs ? "" : " (delete)"}</button>
        ${this.#isText() ? html`<button class="button primary" ?disabled=${this.#isBusy} @click=${() => this.#resolve("merged")}>Save merged</button>` : nothing}
      </div>
      ${this.#isText() && this.#layoutNow() === "beside" ? this.#captions() : nothing}`;
  }

  #side(kind: "mine" | "theirs", side: DocumentSide | null, device: string): TemplateResult {
    const name = this.#name(kind);
    const isHere = device === this.device.client.deviceId;
    return html`
      <div class="side ${kind}" title=${device}>
        <strong>${name}</strong>
        ${isHere && this.#isOurs() ? html`<span class="chip">this device</span>` : nothing}
        ${!isHere && this.#isOurs() ? html`<span class="device-id">${shortDevice(device)}</span>` : nothing}
        <span class="aside">${side ? html`<span title=${side.hash}>${bytes(side.size)}</span> <code>${shortHash(side.hash)}</code>` : "removed it"}</span>
      </div>`;
  }

  /** Mine and theirs are words of the device whose push collided; on others they would mean the wrong one. */
  #isOurs(): boolean {
    return this.conflict.mineDevice === this.device.client.deviceId;
  }

  #name(kind: Against): string {
    const { mineDevice, theirsDevice } = this.conflict;
    if (kind === "base") return "Base";
    if (this.#isOurs()) return kind === "mine" ? "Mine" : "Theirs";
    const device = kind === "mine" ? mineDevice : theirsDevice;
    return device === this.device.client.deviceId ? "This device’s" : `${shortDevice(device)}’s`;
  }

  /** The name within a sentence. */
  #said(kind: Against): string {
    const name = this.#name(kind);
    return this.#isOurs() || kind === "base" || name.startsWith("This") ? name.toLowerCase() : name;
  }

  #tools(): TemplateResult {
    const { conflict } = this;
    const choices = (["theirs", "base", "mine"] as const).filter((which) => conflict[which] !== null);
    return html`
      <div class="segments" role="radiogroup" aria-label="Compare the result with">
        ${choices.map((which) => html`
          <button role="radio" aria-checked=${String(which === this.#against)} @click=${() => this.#compareWith(which)}>${this.#name(which)}</button>`)}
      </div>
      <button class="quiet" aria-pressed=${String(this.#layoutNow() === "inline")} title="Beside each other, or one within the other" @click=${() => this.#turn()}>${this.#layoutNow() === "inline" ? "Inline" : "Side by side"}</button>
      <span class="hint">${this.#startHint()}</span>`;
  }

  #captions(): TemplateResult {
    const other = this.#against === "base" ? "Base, what both began with" : this.#name(this.#against);
    return html`<div class="captions"><span>${other}</span><span>Result, yours to edit</span></div>`;
  }

  #startHint(): string {
    if (!this.#start || !this.conflict.theirs || !this.conflict.mine) return "";
    const { taken, clashing } = this.#start;
    const rest = `${plural(clashing, "place")} to decide`;
    return taken > 0 ? `${plural(taken, "change")} of ${this.#said("theirs")} already in, ${rest}` : rest;
  }

  #binaryHint(): string {
    return this.conflict.mine && this.conflict.theirs ? "Not text: one of them stays, the other is kept in the versions." : "Not text.";
  }

  /** The result so far survives: only what it is compared with, or how, is another. */
  #compareWith(against: Against): void {
    this.#against = against;
    this.#comparison?.setOther(this.#text(against));
    this.update();
  }

  #turn(): void {
    this.#layout = this.#layoutNow() === "inline" ? "beside" : "inline";
    void this.#compare(this.#comparison?.text);
  }

  #layoutNow(): Layout {
    return this.#layout ?? (this.el.clientWidth > 0 && this.el.clientWidth < NARROW_PX ? "inline" : "beside");
  }

  async #compare(result?: string): Promise<void> {
    if (!this.#isText()) return this.update();
    const language = await loadLanguage(baseName(this.conflict.key), isPage(this.conflict.key));
    this.#start ??= this.#compose();
    const { doc, shape } = parse(result ?? this.#start.text);
    this.#comparison?.destroy();
    this.#comparison = new Comparison({
      layout: this.#layoutNow(),
      other: this.#text(this.#against),
      result: doc,
      shape: result === undefined ? this.#shape() : shape,
      language,
      take: { label: "Take" },
      otherLabel: `What the result of ${this.conflict.key} is compared with`,
      resultLabel: `Result for ${this.conflict.key}`,
    });
    this.#body.append(this.#comparison.host);
    this.update();
  }

  #compose(): Start {
    const { base, mine, theirs } = this.conflict;
    if (base && mine && theirs) return compose(this.#text("base"), this.#text("mine"), this.#text("theirs"));
    return { text: this.#text(mine ? "mine" : "theirs").toString(), taken: 0, clashing: 1 };
  }

  #showMoved(): void {
    this.#movedAt = performance.now();
    if (this.#against === "theirs" && !this.conflict.theirs) this.#against = this.conflict.base ? "base" : "mine";
    if (this.#isText()) this.#comparison?.setOther(this.#text(this.#against));
  }

  async #resolve(resolution: "mine" | "theirs" | "merged", force = false): Promise<void> {
    // Pressed for what stood there a moment before: nobody decides about text that nobody saw.
    if (this.#movedAt !== null && performance.now() - this.#movedAt < LOOK_MS) return;
    const { conflict } = this;
    const content = resolution === "merged" ? this.#comparison?.text : undefined;
    this.#isBusy = true;
    this.#error = "";
    this.update();
    try {
      await this.device.client.resolve(conflict.id, resolution, {
        theirsHash: conflict.theirs?.hash ?? null,
        force,
        ...(content === undefined ? {} : { content }),
      });
      this.done();
    } catch (error) {
      this.#failed(error);
    }
    this.#isBusy = false;
    this.update();
  }

  #failed(error: unknown): void {
    const code = codeOf(error);
    if (code === "conflict_resolved") {
      this.device.toast(messageOf(error));
      return this.done();
    }
    if (code === "conflict_moved") {
      const now = this.device.conflicts().find((other) => other.id === this.conflict.id);
      if (now) this.conflict = now;
      return this.#showMoved();
    }
    this.#error = messageOf(error);
  }

  #isText(): boolean {
    const { base, mine, theirs } = this.conflict;
    return [base, mine, theirs].every((side) => side === null || side.content !== undefined);
  }

  #text(which: Against): Text {
    return parse(this.conflict[which]?.content ?? "").doc;
  }

  /** The line ends of the result: those of the version that it begins with. */
  #shape(): Shape {
    return parse((this.conflict.mine ?? this.conflict.theirs)?.content ?? "").shape;
  }
}
