import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import type { Device } from "../device/device";
import { plural } from "../format";
import { icon } from "../icons";
import { fileKey, folderOf, isFile, pathOf } from "../keys";
import { Part } from "../part";
import { confirmed } from "../ui/dialog";
import { nameField } from "../ui/name-field";
import { takeDrops } from "./drop";
import { rows, twins, within, type Row } from "./nodes";

const OPEN_MAX = 300;

/** What of the tree has a text field instead of a name. */
type Naming = { kind: "new"; folder: string } | { kind: "rename"; row: Row };

/** The workspace's files as a tree (WAI-ARIA's pattern: one tab stop, arrows move). */
export class FileTree extends Part {
  /** The folders that are not as they are at first. */
  #toggled = new Set<string>();
  #folders = new Set<string>();
  #focused = "";
  #wantsFocus = false;
  #wantsReveal = false;
  #naming: Naming | null = null;
  #active = "";
  #paths: readonly string[] = [];
  #shown: Row[] | null = null;
  #alike: ReadonlySet<string> = new Set();

  constructor(
    el: HTMLElement,
    private readonly device: Device,
    private readonly open: (key: string) => void,
    private readonly moved: (from: string, to: string) => void,
  ) {
    super(el);
    takeDrops(el, device, (target) => {
      const path = target.closest<HTMLElement>("[data-path]")?.dataset["path"];
      const row = this.#rows().find((other) => other.path === path);
      return row?.isFolder ? row.path : folderOf(row?.path ?? "");
    });
    device.on("changed", ({ keys }) => {
      if (keys.some((key) => isFile(key) || key === "active_file")) this.update();
    });
    device.on("status", () => this.update());
    device.on("conflicts", () => this.update());
  }

  setActive(key: string): void {
    this.#active = isFile(key) ? pathOf(key) : "";
    if (this.#active) {
      this.#focused = this.#active;
      this.#wantsReveal = true;
      for (let folder = folderOf(this.#active); folder; folder = folderOf(folder)) this.#toggle(folder, true);
    }
    this.update();
  }

  startNew(): void {
    const focused = this.#rows().find((row) => row.path === this.#focused);
    const folder = focused?.isFolder ? focused.path : folderOf(this.#focused);
    this.#naming = { kind: "new", folder: folder && `${folder}/` };
    this.update();
  }

  focus(): void {
    this.#wantsFocus = true;
    this.update();
  }

  protected view(): TemplateResult {
    const shown = this.#rows();
    const pending = this.device.pending();
    const clashing = new Set(this.device.conflicts().map((conflict) => conflict.key));
    const elsewhere = this.device.word("active_file");
    const stop = shown.some((row) => row.path === this.#focused) ? this.#focused : shown[0]?.path;
    return html`
      <header class="section-head">
        <h2>Files</h2>
        <button class="quiet" title="New file (Alt+N). End the name with / for a folder" aria-label="New file" @click=${() => this.startNew()}>${icon("plus")}</button>
      </header>
      ${this.#naming?.kind === "new" ? this.#newField(this.#naming.folder) : nothing}
      <ul class="tree" role="tree" aria-label="Files" @keydown=${this.#onKey}>
        ${repeat(shown, (row) => row.path, (row) => {
          const key = fileKey(row.path);
          const marks = { pending: pending.has(key), clash: clashing.has(key), alike: this.#alike.has(row.path), elsewhere: row.path === elsewhere && row.path !== this.#active };
          return this.#row(row, row.path === stop, marks);
        })}
      </ul>
      ${shown.length === 0 && !this.#naming ? html`<p class="hint">No files yet.</p>` : nothing}`;
  }

  protected override drawn(): void {
    if (this.#wantsReveal) this.el.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
    this.#wantsReveal = false;
    if (!this.#wantsFocus) return;
    this.#wantsFocus = false;
    this.el.querySelector<HTMLElement>('[role="treeitem"][tabindex="0"]')?.focus();
  }

  #row(row: Row, isStop: boolean, marks: { pending: boolean; clash: boolean; alike: boolean; elsewhere: boolean }): TemplateResult {
    if (this.#naming?.kind === "rename" && this.#naming.row.path === row.path) {
      return html`<li role="none" class="row">${indent(row.depth)}<span class="twist"></span>${this.#renameField(row)}</li>`;
    }
    const says = [row.name, marks.clash ? "in conflict" : "", marks.pending ? "not yet on the server" : "", marks.alike ? "differs from another only in case or Unicode form" : "", marks.elsewhere ? "open on another device" : ""];
    return html`
      <li role="treeitem" class="row" tabindex=${isStop ? 0 : -1} .row=${row} data-path=${row.path}
        aria-level=${row.depth + 1} aria-label=${says.filter(Boolean).join(", ")}
        aria-expanded=${row.isFolder ? String(row.isOpen) : nothing}
        aria-selected=${String(row.path === this.#active)}
        @click=${() => this.#press(row)} @focus=${() => (this.#focused = row.path)}>
        ${indent(row.depth)}
        <span class="twist ${row.isOpen ? "open" : ""}">${row.isFolder ? icon("chevron") : nothing}</span>
        <span class="name ${row.isFolder ? "folder" : ""} ${marks.clash ? "clash" : ""}">${row.name}</span>
        ${marks.alike ? html`<span class="mark warn" title="Another name differs only in case or Unicode form">Aa</span>` : nothing}
        ${marks.elsewhere ? html`<span class="mark elsewhere" title="Last opened on another device"></span>` : nothing}
        ${marks.clash ? html`<span class="mark clash" title="In conflict">${icon("clash")}</span>` : nothing}
        ${marks.pending ? html`<span class="mark pending" title="Not yet on the server"></span>` : nothing}
        <span class="row-tools">
          <button class="quiet" tabindex="-1" title="Rename (F2)" aria-label="Rename ${row.name}" @click=${(event: Event) => this.#tool(event, () => this.#rename(row))}>${icon("pencil")}</button>
          <button class="quiet" tabindex="-1" title="Delete (Del)" aria-label="Delete ${row.name}" @click=${(event: Event) => this.#tool(event, () => this.#remove(row))}>${icon("trash")}</button>
        </span>
      </li>`;
  }

  #newField(start: string): TemplateResult {
    return html`<div class="naming">${nameField({
      label: "Path of the new file",
      placeholder: "folder/file.rs, or folder/",
      start,
      done: (path) => this.#make(path),
      cancel: () => this.#stopNaming(),
    })}</div>`;
  }

  #renameField(row: Row): TemplateResult {
    return nameField({
      label: `New path of ${row.path}`,
      start: row.path,
      selectFrom: row.path.length - row.name.length,
      done: (path) => {
        for (const old of within(this.device.paths(), row.path, row.isFolder)) {
          const [from, to] = [fileKey(old), fileKey(path.replace(/\/+$/, "") + old.slice(row.path.length))];
          this.device.rename(from, to, () => this.moved(from, to));
        }
        if (this.#folders.delete(row.path)) this.#folders.add(path);
        this.#shown = null;
        this.#stopNaming();
      },
      cancel: () => this.#stopNaming(),
    });
  }

  #make(path: string): void {
    if (path.endsWith("/")) {
      this.#folders.add(path.replace(/\/+$/, ""));
      this.#shown = null;
      this.#focused = path.replace(/\/+$/, "");
    } else {
      if (!this.device.client.has(fileKey(path))) this.device.write(fileKey(path), "");
      this.open(fileKey(path));
    }
    this.#naming = null;
    this.update();
  }

  #stopNaming(): void {
    this.#naming = null;
    this.focus();
  }

  #rows(): Row[] {
    const paths = this.device.paths();
    if (paths !== this.#paths) {
      this.#paths = paths;
      this.#alike = twins(paths);
      this.#shown = null;
    }
    // In a small workspace folders are open at first, in a large one closed.
    const isOpenAtFirst = paths.length <= OPEN_MAX;
    this.#shown ??= rows(paths, this.#folders, (folder) => this.#toggled.has(folder) !== isOpenAtFirst);
    return this.#shown;
  }

  #toggle(folder: string, isOpen?: boolean): void {
    const is = this.#toggled.has(folder) !== this.device.paths().length <= OPEN_MAX;
    if (is === isOpen) return;
    if (!this.#toggled.delete(folder)) this.#toggled.add(folder);
    this.#shown = null;
  }

  #press(row: Row): void {
    this.#focused = row.path;
    if (!row.isFolder) return this.open(fileKey(row.path));
    this.#toggle(row.path);
    this.update();
  }

  #rename(row: Row): void {
    this.#naming = { kind: "rename", row };
    this.update();
  }

  async #remove(row: Row): Promise<void> {
    const paths = within(this.device.paths(), row.path, row.isFolder);
    const what = row.isFolder ? `${row.path}/ and ${plural(paths.length, "file")} in it` : row.path;
    if (!(await confirmed(`Delete ${what}?`, "It goes from every device. The versions stay for the server's retention time.", "Delete"))) return this.focus();
    this.#folders.delete(row.path);
    this.#shown = null;
    for (const path of paths) this.device.remove(fileKey(path));
    this.focus();
  }

  #tool(event: Event, run: () => unknown): void {
    event.stopPropagation();
    void run();
  }

  #onKey = (event: KeyboardEvent): void => {
    if (!(event.target instanceof HTMLElement) || event.target.getAttribute("role") !== "treeitem") return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = this.#rows();
    const at = shown.findIndex((row) => row.path === this.#focused);
    const row = shown[at];
    if (!row) return;
    const go = (to: Row | undefined): void => {
      if (to) this.#focused = to.path;
      this.focus();
    };
    const actions: Record<string, () => unknown> = {
      ArrowDown: () => go(shown[at + 1]),
      ArrowUp: () => go(shown[at - 1]),
      Home: () => go(shown[0]),
      End: () => go(shown.at(-1)),
      ArrowRight: () => (row.isFolder && !row.isOpen ? this.#press(row) : go(row.isFolder ? shown[at + 1] : row)),
      ArrowLeft: () => (row.isFolder && row.isOpen ? this.#press(row) : go(shown.find((other) => other.path === folderOf(row.path)))),
      Enter: () => this.#press(row),
      " ": () => this.#press(row),
      F2: () => this.#rename(row),
      Delete: () => this.#remove(row),
    };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    } else if (/^[\p{L}\p{N}._]$/u.test(event.key)) {
      const letter = event.key.toLowerCase();
      const after = [...shown.slice(at + 1), ...shown.slice(0, at + 1)];
      go(after.find((other) => other.name.toLowerCase().startsWith(letter)));
    }
  };
}

const indent = (depth: number): TemplateResult[] => Array.from({ length: depth }, () => html`<span class="indent"></span>`);
