import { html, nothing, type TemplateResult } from "lit-html";
import { Devices } from "../devices/devices";
import { EditorArea } from "../editor/area";
import { Panel } from "../history/panel";
import { icon, type IconName } from "../icons";
import { fileKey, isFile, pathOf } from "../keys";
import { element, Part } from "../part";
import { Pages } from "../sessions/pages";
import { Sessions } from "../sessions/sessions";
import { StatusBar } from "../status/bar";
import { FileTree } from "../tree/files";
import { quickOpen } from "../ui/quick-open";
import { Toasts } from "../ui/toasts";
import { nameOf, type Device } from "./device";

type Side = "workspace" | "devices";
const NARROW_PX = 560;

/** A small IDE around one device. */
export class Pane extends Part {
  readonly #rail = element("rail", { role: "toolbar", "aria-label": "Areas", "aria-orientation": "vertical" }, "nav");
  readonly #workspace = element("side-view");
  readonly #devicesEl = element("side-view");
  readonly #sideBar = element("side-bar", {}, "aside");
  readonly #files: FileTree;
  readonly #sessions: Sessions;
  readonly #pages: Pages;
  readonly #devices: Devices;
  readonly #area: EditorArea;
  readonly #panel: Panel;
  readonly #bar: StatusBar;
  #side: Side | null = "workspace";
  #conflicts = new Set<string>();
  #conflictToast = "";
  /** Whether something was opened: from then on the person decides where to be. */
  #hasBegun = false;

  constructor(el: HTMLElement, readonly device: Device, signIn: () => void) {
    super(el);
    const parts = {
      files: element("section grow"),
      sessions: element("section"),
      pages: element("section"),
      area: element("area", { "aria-label": "Editor" }, "main"),
      panel: element("panel", { "aria-label": "History" }, "section"),
      bar: element("bar", { "aria-label": "Status" }, "footer"),
      toasts: element("toasts"),
    };
    this.#workspace.append(parts.files, parts.sessions, parts.pages);
    this.#sideBar.append(this.#workspace, this.#devicesEl);
    el.append(this.#rail, this.#sideBar, parts.area, parts.panel, parts.bar, parts.toasts);

    const open = (key: string): void => this.#area.open(key);
    this.#files = new FileTree(parts.files, device, open, (from, to) => this.#area.moved(from, to));
    this.#sessions = new Sessions(parts.sessions, device);
    this.#pages = new Pages(parts.pages, device, open);
    this.#devices = new Devices(this.#devicesEl, device, signIn);
    this.#bar = new StatusBar(parts.bar, device, { showConflict: () => this.#area.openConflict(), showProblems: () => this.#panel.show("problems"), signIn });
    this.#panel = new Panel(parts.panel, device, (key, version) => this.#area.openVersion(key, version));
    this.#area = new EditorArea(parts.area, device, (about) => this.#bar.setAbout(about), (key) => this.#activated(key), {
      newFile: () => this.newFile(),
      openSample: open,
    });
    for (const part of [this.#files, this.#sessions, this.#pages, this.#bar, new Toasts(parts.toasts, device)]) part.update();
    device.on("conflicts", () => this.#announceConflicts());
    device.on("changed", ({ keys, from }) => {
      if (from === "elsewhere" && keys.includes("active_file") && !this.#hasBegun) this.#resume();
    });
    if (el.clientWidth < NARROW_PX) this.#side = null;
    this.#arrange();
    this.#resume();
    this.#announceConflicts();
  }

  newFile(): void {
    this.#show("workspace");
    this.#files.startNew();
  }

  async find(): Promise<void> {
    const path = await quickOpen(this.device.paths());
    if (path !== undefined) this.#area.open(fileKey(path));
  }

  closeTab = (): void => this.#area.close();
  stepTab = (by: number): void => this.#area.step(by);
  selectTab = (nth: number): void => this.#area.select(nth);
  nextConflict = (): void => this.#area.openConflict();
  toggleSide = (): void => this.#show(this.#side === null ? "workspace" : null);
  togglePanel = (): void => this.#panel.toggle();

  /** Its areas in the order that F6 goes through; each takes the focus when called. */
  regions(): { el: HTMLElement; focus: () => void }[] {
    const side = { el: this.#sideBar, focus: () => (this.#side === "devices" ? this.#devicesEl.querySelector("button")?.focus() : this.#files.focus()) };
    return [
      ...(this.#side === null ? [] : [side]),
      { el: this.#area.el, focus: () => this.#area.focus() },
      { el: this.#panel.el, focus: () => this.#panel.focus() },
      { el: this.#bar.el, focus: () => this.#bar.el.querySelector("button")?.focus() },
    ];
  }

  /** Keeps where the person is, for the next time and the next device. */
  keepPlace(): void {
    if (!isFile(this.#area.active)) return;
    const { place } = this.#area;
    const kept = JSON.stringify(this.device.client.get("cursor"));
    if (kept !== JSON.stringify(place)) this.device.set("cursor", { line: place.line, col: place.col });
  }

  protected override get target(): HTMLElement {
    return this.#rail;
  }

  protected view(): TemplateResult {
    const button = (name: IconName, label: string, isOn: boolean, press: () => void): TemplateResult => html`
      <button class="rail-button" aria-pressed=${String(isOn)} title=${label} aria-label=${label} @click=${press}>${icon(name)}</button>`;
    return html`
      ${button("files", "Workspace (Ctrl+B)", this.#side === "workspace", () => this.#show(this.#side === "workspace" ? null : "workspace"))}
      ${button("key", "Environment variables", this.#area?.active === "env", () => this.#area.openVariables())}
      ${button("devices", "Devices", this.#side === "devices", () => this.#show(this.#side === "devices" ? null : "devices"))}
      ${this.device.conflicts().length > 0 ? button("clash", "Conflicts (F8)", false, () => this.#area.openConflict()) : nothing}`;
  }

  #show(side: Side | null): void {
    this.#side = side;
    this.#arrange();
  }

  #arrange(): void {
    this.#sideBar.hidden = this.#side === null;
    this.#workspace.hidden = this.#side !== "workspace";
    this.#devicesEl.hidden = this.#side !== "devices";
    this.#devices.setShown(this.#side === "devices");
    this.update();
  }

  #activated(key: string): void {
    if (key.startsWith("conflict:")) this.device.dismiss(this.#conflictToast);
    this.#hasBegun ||= key !== "";
    this.#files.setActive(key);
    this.#pages.setActive(key);
    this.#panel.setKey(key);
    this.update();
    if (isFile(key) && this.device.word("active_file") !== pathOf(key)) this.device.set("active_file", pathOf(key));
  }

  /** Begins where the account was left. */
  #resume(): void {
    const path = this.device.word("active_file");
    if (!path || !this.device.client.has(fileKey(path))) return;
    const cursor = this.device.client.get("cursor");
    const at = typeof cursor === "object" && cursor !== null && !Array.isArray(cursor) ? cursor : {};
    this.#area.open(fileKey(path), { line: Number(at["line"] ?? 1), col: Number(at["col"] ?? 1) });
  }

  #announceConflicts(): void {
    const open = this.device.conflicts();
    const fresh = open.find(({ id }) => !this.#conflicts.has(id));
    this.#conflicts = new Set(open.map(({ id }) => id));
    this.device.dismiss(this.#conflictToast);
    if (fresh) {
      this.#conflictToast = this.device.toast(`Two versions of ${nameOf(fresh.key)} do not merge.`, "bad", { label: "Decide", run: () => this.#area.openConflict(fresh.id) });
    }
    this.update();
  }
}
