import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import { icon, type IconName } from "../icons";
import { Part } from "../part";

export interface Tab {
  id: string;
  title: string;
  tip: string;
  icon?: IconName;
  isPending: boolean;
}

export interface TabActions {
  select(id: string): void;
  close(id: string): void;
}

/** The strip of tabs over the editor. */
export class TabStrip extends Part {
  #tabs: readonly Tab[] = [];
  #active = "";

  constructor(el: HTMLElement, private readonly actions: TabActions) {
    super(el);
  }

  set(tabs: readonly Tab[], active: string): void {
    this.#tabs = tabs;
    this.#active = active;
    this.update();
  }

  protected view(): TemplateResult {
    return html`
      <div class="tabs" role="tablist" aria-label="Open documents" @keydown=${this.#onKey}>
        ${repeat(this.#tabs, ({ id }) => id, (tab) => {
          const isActive = tab.id === this.#active;
          return html`
            <div class="tab ${isActive ? "active" : ""}" role="presentation" @auxclick=${(event: MouseEvent) => event.button === 1 && this.actions.close(tab.id)}>
              <button class="tab-name" role="tab" aria-selected=${String(isActive)} tabindex=${isActive ? 0 : -1} title=${tab.tip} @click=${() => this.actions.select(tab.id)}>
                ${tab.icon ? icon(tab.icon) : nothing}<span>${tab.title}</span>${tab.isPending ? html`<span class="mark pending" title="Not yet on the server"></span>` : nothing}
              </button>
              <button class="quiet tab-close" tabindex="-1" aria-label="Close ${tab.title}" title="Close (Alt+W)" @click=${() => this.actions.close(tab.id)}>${icon("close")}</button>
            </div>`;
        })}
      </div>`;
  }

  protected override drawn(): void {
    this.el.querySelector(".tab.active")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #onKey = (event: KeyboardEvent): void => {
    const at = this.#tabs.findIndex(({ id }) => id === this.#active);
    const to: Record<string, number> = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.#tabs.length - 1 };
    const next = this.#tabs[to[event.key] ?? -1];
    if (event.key === "Delete") this.actions.close(this.#active);
    if (!next) return;
    event.preventDefault();
    this.actions.select(next.id);
    queueMicrotask(() => this.el.querySelector<HTMLElement>(".tab.active .tab-name")?.focus());
  };
}
