import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import type { Device } from "../device/device";
import { icon } from "../icons";
import { isPage, newId, pageIdOf, pageKey, PAGES } from "../keys";
import { Part } from "../part";
import { confirmed } from "../ui/dialog";
import { nameField } from "../ui/name-field";

/** A page's title, or its id where it has none. */
export const pageTitle = (device: Device, id: string): string => device.word(`${pageKey(id)}/title`) || id;

/** Context pages: notes that the assistant reads, each with a title and a text. */
export class Pages extends Part {
  #naming: string | "new" | null = null;
  #active = "";

  constructor(el: HTMLElement, private readonly device: Device, private readonly open: (key: string) => void) {
    super(el);
    device.on("changed", ({ keys }) => {
      if (keys.some(isPage)) this.update();
    });
    device.on("status", () => this.update());
  }

  setActive(key: string): void {
    this.#active = isPage(key) ? pageIdOf(key) : "";
    this.update();
  }

  protected view(): TemplateResult {
    const ids = [...new Set(this.device.client.keys(PAGES).map(pageIdOf))].sort();
    const pending = this.device.pending();
    const clashing = new Set(this.device.conflicts().map((conflict) => conflict.key));
    return html`
      <header class="section-head">
        <h2>Context pages</h2>
        <button class="quiet" title="New context page" aria-label="New context page" @click=${() => this.#name("new")}>${icon("plus")}</button>
      </header>
      ${this.#naming === "new" ? html`<div class="naming">${this.#field("Title of the new page", "", (title) => this.#make(title))}</div>` : nothing}
      <ul class="list" aria-label="Context pages">
        ${repeat(ids, (id) => id, (id) => this.#row(id, pending.has(pageKey(id)), clashing.has(pageKey(id))))}
      </ul>
      ${ids.length === 0 && this.#naming === null ? html`<p class="hint">Notes that go along with every session.</p>` : nothing}`;
  }

  #row(id: string, isPending: boolean, isClashing: boolean): TemplateResult {
    const title = pageTitle(this.device, id);
    if (this.#naming === id) {
      return html`<li class="naming">${this.#field("New title", title, (name) => this.device.set(`${pageKey(id)}/title`, name))}</li>`;
    }
    return html`
      <li class="row ${id === this.#active ? "current" : ""}">
        <button class="row-main" aria-current=${id === this.#active ? "true" : nothing} @click=${() => this.open(pageKey(id))} @dblclick=${() => this.#name(id)}
          @keydown=${(event: KeyboardEvent) => event.key === "F2" && this.#name(id)}>
          ${icon("page")}<span class="name ${isClashing ? "clash" : ""}">${title}</span>
        </button>
        ${isPending ? html`<span class="mark pending" title="Not yet on the server"></span>` : nothing}
        <span class="row-tools">
          <button class="quiet" title="Rename (F2)" aria-label="Rename ${title}" @click=${() => this.#name(id)}>${icon("pencil")}</button>
          <button class="quiet" title="Delete" aria-label="Delete ${title}" @click=${() => this.#remove(id, title)}>${icon("trash")}</button>
        </span>
      </li>`;
  }

  #field(label: string, start: string, done: (name: string) => void): TemplateResult {
    return nameField({
      label,
      start,
      selectFrom: 0,
      placeholder: "Title",
      done: (name) => {
        done(name);
        this.#name(null);
      },
      cancel: () => this.#name(null),
    });
  }

  #make(title: string): void {
    const id = `p${newId()}`;
    this.device.write(pageKey(id), `# ${title}\n\n`);
    this.device.set(`${pageKey(id)}/title`, title);
    this.open(pageKey(id));
  }

  async #remove(id: string, title: string): Promise<void> {
    if (await confirmed(`Delete “${title}”?`, "It goes from every device.", "Delete")) this.device.remove(pageKey(id));
  }

  #name(what: string | null): void {
    this.#naming = what;
    this.update();
  }
}
