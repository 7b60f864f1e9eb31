import { html, type TemplateResult } from "lit-html";
import { ref } from "lit-html/directives/ref.js";

export interface NameField {
  label: string;
  placeholder?: string;
  start?: string;
  /** Selects from here on, so that typing replaces the name and not its folder. */
  selectFrom?: number;
  done: (name: string) => void;
  cancel: () => void;
}

/** A text field in a list: Enter takes the name, Escape or leaving it does not. */
export function nameField({ label, placeholder = "", start = "", selectFrom, done, cancel }: NameField): TemplateResult {
  let isOver = false;
  const end = (finish: () => void): void => {
    if (isOver) return;
    isOver = true;
    finish();
  };
  const onKey = (event: KeyboardEvent): void => {
    event.stopPropagation();
    if (event.isComposing) return;
    const input = event.currentTarget as HTMLInputElement;
    const name = input.value.trim();
    if (event.key !== "Escape" && event.key !== "Enter") return;
    // The key is used up: the focus may be in the editor by now.
    event.preventDefault();
    end(event.key === "Enter" && name && name !== start ? () => done(name) : cancel);
  };
  const attach = (el: Element | undefined): void => {
    if (!(el instanceof HTMLInputElement) || el.dataset["ready"]) return;
    el.dataset["ready"] = "yes";
    el.value = start;
    queueMicrotask(() => {
      el.focus();
      el.setSelectionRange(selectFrom ?? start.length, start.length);
    });
  };
  return html`<input class="name-field" aria-label=${label} placeholder=${placeholder} spellcheck="false" autocomplete="off"
    ${ref(attach)} @keydown=${onKey} @blur=${() => end(cancel)} />`;
}
