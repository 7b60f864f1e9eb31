import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import type { Device } from "../device/device";
import { icon } from "../icons";
import { newId, SESSIONS } from "../keys";
import { Part } from "../part";
import { nameField } from "../ui/name-field";

interface Session {
  id: string;
  title: string;
  status: string;
}

/** AI sessions: which there are, which one is open, how each is doing. */
export class Sessions extends Part {
  #naming: string | "new" | null = null;

  constructor(el: HTMLElement, private readonly device: Device) {
    super(el);
    device.on("changed", ({ keys }) => {
      if (keys.some((key) => key.startsWith(SESSIONS) || key === "open_session_id")) this.update();
    });
  }

  protected view(): TemplateResult {
    const sessions = this.#all();
    const open = this.device.word("open_session_id");
    return html`
      <header class="section-head">
        <h2>Sessions</h2>
        <button class="quiet" title="New session" aria-label="New session" @click=${() => this.#name("new")}>${icon("plus")}</button>
      </header>
      ${this.#naming === "new" ? html`<div class="naming">${this.#field("Title of the new session", "", (title) => this.#make(title))}</div>` : nothing}
      <ul class="list" aria-label="Sessions">
        ${repeat(sessions, (session) => session.id, (session) => this.#row(session, session.id === open))}
      </ul>
      ${sessions.length === 0 && this.#naming === null ? html`<p class="hint">No sessions yet.</p>` : nothing}`;
  }

  #row({ id, title, status }: Session, isOpen: boolean): TemplateResult {
    if (this.#naming === id) {
      return html`<li class="naming">${this.#field("New title", title, (name) => this.device.set(`${SESSIONS}${id}/title`, name))}</li>`;
    }
    const isEnded = status === "ended";
    return html`
      <li class="row ${isOpen ? "current" : ""}">
        <button class="row-main" aria-current=${isOpen ? "true" : nothing} title=${isOpen ? "The open session" : "Switch to this session"}
          @click=${() => this.device.set("open_session_id", id)} @dblclick=${() => this.#name(id)}
          @keydown=${(event: KeyboardEvent) => event.key === "F2" && this.#name(id)}>
          <span class="dot ${status}"></span><span class="name">${title || "Untitled"}</span><span class="aside">${status}</span>
        </button>
        <span class="row-tools">
          <button class="quiet" title="Rename (F2)" aria-label="Rename ${title}" @click=${() => this.#name(id)}>${icon("pencil")}</button>
          ${isEnded
            ? html`<button class="quiet" title="Remove" aria-label="Remove ${title}" @click=${() => this.#remove(id)}>${icon("trash")}</button>`
            : html`<button class="quiet" title="End this session" aria-label="End ${title}" @click=${() => this.device.set(`${SESSIONS}${id}/status`, "ended")}>${icon("check")}</button>`}
        </span>
      </li>`;
  }

  #field(label: string, start: string, done: (name: string) => void): TemplateResult {
    return nameField({
      label,
      start,
      selectFrom: 0,
      placeholder: "What is it about?",
      done: (name) => {
        done(name);
        this.#name(null);
      },
      cancel: () => this.#name(null),
    });
  }

  #make(title: string): void {
    const id = `s${newId()}`;
    this.device.set(`${SESSIONS}${id}/title`, title);
    this.device.set(`${SESSIONS}${id}/status`, "running");
    this.device.set("open_session_id", id);
  }

  #remove(id: string): void {
    this.device.remove(`${SESSIONS}${id}`);
    if (this.device.word("open_session_id") === id) this.device.set("open_session_id", null);
  }

  #name(what: string | null): void {
    this.#naming = what;
    this.update();
  }

  #all(): Session[] {
    const ids = new Set(this.device.client.keys(SESSIONS).map((key) => key.split("/")[1] ?? ""));
    return [...ids].filter(Boolean).sort().map((id) => ({
      id,
      title: this.device.word(`${SESSIONS}${id}/title`),
      status: this.device.word(`${SESSIONS}${id}/status`),
    }));
  }
}
