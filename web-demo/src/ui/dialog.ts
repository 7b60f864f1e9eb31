import { html, render, type TemplateResult } from "lit-html";

/** A modal dialog; resolves with what `close` was given, or undefined when it was dismissed. */
export function modal<T>(label: string, body: (close: (value: T) => void) => TemplateResult): Promise<T | undefined> {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", label);
  const before = document.activeElement;
  return new Promise((resolve) => {
    let result: T | undefined;
    const close = (value: T): void => {
      result = value;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before instanceof HTMLElement) before.focus();
      resolve(result);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    render(html`<div class="dialog-body">${body(close)}</div>`, dialog);
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks before something that cannot be taken back at once. */
export async function confirmed(title: string, detail: string, verb: string): Promise<boolean> {
  const answer = await modal<boolean>(title, (close) => html`
    <h2>${title}</h2>
    <p>${detail}</p>
    <div class="dialog-buttons">
      <button class="button" @click=${() => close(false)}>Cancel</button>
      <button class="button danger" autofocus @click=${() => close(true)}>${verb}</button>
    </div>`);
  return answer ?? false;
}
