import type { Version } from "@nself/sync";
import { BinaryView } from "./binary-view";
import { ConflictView } from "../conflict/conflict-view";
import { VersionView } from "../conflict/version-view";
import type { Device } from "../device/device";
import { Variables } from "../env/variables";
import { baseName, ENV, isDocument, isFile, pageIdOf, pathOf } from "../keys";
import { element } from "../part";
import { pageTitle } from "../sessions/pages";
import { TabStrip, type Tab } from "./tabs";
import { TextEditor } from "./text-editor";
import { Welcome, type WelcomeActions } from "./welcome";

/** What a tab shows that is not the text editor. */
interface View {
  readonly el: HTMLElement;
  update(): void;
  focus(): void;
  destroy?(): void;
}

const VARIABLES = "env";
const CONFLICT = "conflict:";
const VERSION = "version:";

/** The middle: tabs, and below them the editor or another view. */
export class EditorArea {
  readonly #tabs: string[] = [];
  readonly #views = new Map<string, View>();
  readonly #strip: TabStrip;
  readonly #editor: TextEditor;
  readonly #welcome: Welcome;
  readonly #stage = element("stage");
  #active = "";

  constructor(
    readonly el: HTMLElement,
    private readonly device: Device,
    about: (text: string) => void,
    private readonly activated: (key: string) => void,
    welcome: WelcomeActions,
  ) {
    const strip = element("tab-strip");
    this.#strip = new TabStrip(strip, { select: (id) => this.#activate(id, false), close: (id) => this.close(id) });
    this.#editor = new TextEditor(device, about);
    this.#welcome = new Welcome(element("stage-view"), device, welcome);
    this.#stage.append(this.#editor.host, this.#welcome.el);
    el.append(strip, this.#stage);
    device.on("changed", ({ keys, from }) => {
      if (from === "elsewhere") this.#editor.changed(keys);
      if (from === "elsewhere" && keys.includes(this.#active)) this.#refit();
      this.#closeRemoved(from);
      this.#drawTabs();
    });
    device.on("status", () => this.#drawTabs());
    device.on("conflicts", () => this.#refreshConflicts());
    this.#activate("", false);
  }

  get active(): string {
    return this.#active;
  }

  open(key: string, place?: { line: number; col: number }): void {
    if (isDocument(key) && !this.device.client.has(key)) return;
    this.#add(key);
    this.#activate(key, place === undefined);
    if (place) this.#editor.goTo(place);
  }

  /** A file has another path: its tab stays. */
  moved(from: string, to: string): void {
    const at = this.#tabs.indexOf(from);
    if (at < 0) return;
    this.#tabs[at] = to;
    this.#editor.close(from);
    if (this.#active === from) this.#activate(to, false);
    else this.#drawTabs();
  }

  openVariables(): void {
    this.#addView(VARIABLES, (el) => new Variables(el, this.device));
    this.#activate(VARIABLES, true);
  }

  openConflict(id?: string): void {
    const all = this.device.conflicts();
    const at = all.findIndex((conflict) => CONFLICT + conflict.id === this.#active);
    const conflict = id === undefined ? all[(at + 1) % all.length] : all.find((other) => other.id === id);
    if (!conflict) return;
    const tab = CONFLICT + conflict.id;
    this.#addView(tab, (el) => new ConflictView(el, this.device, conflict, () => this.#conflictDone(tab, conflict.key)));
    this.#activate(tab, true);
  }

  openVersion(key: string, version: Version): void {
    const tab = `${VERSION}${version.seq}:${version.cause}:${key}`;
    this.#addView(tab, (el) => new VersionView(el, this.device, key, version));
    this.#activate(tab, true);
  }

  close(id = this.#active): void {
    const at = this.#tabs.indexOf(id);
    if (at < 0) return;
    this.#tabs.splice(at, 1);
    this.#dropView(id);
    this.#editor.close(id);
    if (id === this.#active) this.#activate(this.#tabs[Math.min(at, this.#tabs.length - 1)] ?? "", true);
    else this.#drawTabs();
  }

  /** The nth tab, or the one `step` further. */
  select(nth: number): void {
    const id = this.#tabs.at(nth);
    if (id) this.#activate(id, true);
  }

  step(by: number): void {
    const at = this.#tabs.indexOf(this.#active);
    this.select((at + by + this.#tabs.length) % Math.max(1, this.#tabs.length));
  }

  focus(): void {
    const view = this.#views.get(this.#active);
    if (view) view.focus();
    else if (this.#active) this.#editor.focus();
    else this.#welcome.el.querySelector("button")?.focus();
  }

  get place(): { line: number; col: number } {
    return this.#editor.place;
  }

  #add(id: string): void {
    if (!this.#tabs.includes(id)) this.#tabs.push(id);
  }

  #addView(id: string, make: (el: HTMLElement) => View): void {
    this.#add(id);
    if (this.#views.has(id)) return;
    const el = element("stage-view");
    this.#stage.append(el);
    const view = make(el);
    this.#views.set(id, view);
    view.update();
  }

  #activate(id: string, takesFocus: boolean): void {
    this.#active = id;
    const isText = isDocument(id) && this.#editor.show(id);
    if (isText) this.#dropView(id);
    if (isDocument(id) && !isText) this.#addView(id, (el) => new BinaryView(el, this.device, id));
    if (!isText) this.#editor.hide();
    this.#editor.host.hidden = !isText;
    this.#welcome.el.hidden = id !== "";
    this.#welcome.update();
    for (const [other, view] of this.#views) view.el.hidden = other !== id;
    this.#drawTabs();
    this.activated(id);
    if (takesFocus) this.focus();
  }

  /** What is open may have become text, or none, elsewhere. */
  #refit(): void {
    const id = this.#active;
    if (!isDocument(id) || !this.device.client.has(id)) return;
    const isText = this.device.client.text(id) !== undefined;
    if (isText !== this.#views.has(id)) return;
    this.#editor.close(id);
    this.#activate(id, false);
  }

  #dropView(id: string): void {
    const view = this.#views.get(id);
    view?.destroy?.();
    view?.el.remove();
    this.#views.delete(id);
  }

  #drawTabs(): void {
    this.#strip.set(this.#tabs.map((id) => this.#tab(id, this.device.pending())), this.#active);
  }

  #tab(id: string, pending: ReadonlySet<string>): Tab {
    if (id === VARIABLES) return { id, title: "Environment", tip: "Environment variables", icon: "key", isPending: pending.has(ENV) };
    if (id.startsWith(CONFLICT)) {
      const key = this.device.conflicts().find((conflict) => CONFLICT + conflict.id === id)?.key ?? "";
      return { id, title: baseName(key), tip: `Conflict in ${key}`, icon: "clash", isPending: false };
    }
    if (id.startsWith(VERSION)) {
      const [, seq, , ...key] = id.split(":");
      return { id, title: `${baseName(key.join(":"))} @ ${seq}`, tip: `Version of ${key.join(":")}`, icon: "restore", isPending: false };
    }
    const title = isFile(id) ? baseName(pathOf(id)) : pageTitle(this.device, pageIdOf(id));
    return { id, title, tip: isFile(id) ? pathOf(id) : `Context page: ${title}`, isPending: pending.has(id), ...(isFile(id) ? {} : { icon: "page" as const }) };
  }

  #closeRemoved(from: "here" | "elsewhere"): void {
    for (const id of this.#tabs.filter((tab) => isDocument(tab) && !this.device.client.has(tab))) {
      this.close(id);
      if (from === "elsewhere") this.device.toast(`${isFile(id) ? pathOf(id) : "A page"} was removed on another device.`);
    }
  }

  #refreshConflicts(): void {
    const open = new Map(this.device.conflicts().map((conflict) => [CONFLICT + conflict.id, conflict]));
    for (const [id, view] of [...this.#views]) {
      if (!(view instanceof ConflictView)) continue;
      const conflict = open.get(id);
      if (conflict) view.refresh(conflict);
      else this.close(id);
    }
    this.#drawTabs();
  }

  #conflictDone(tab: string, key: string): void {
    this.close(tab);
    this.open(key);
  }
}
