import { html, nothing, render, type TemplateResult } from "lit-html";
import { baseName, folderOf } from "../keys";

const SHOWN_MAX = 12;

/** A dialog that finds a file by letters of its path; resolves with the path. */
export function quickOpen(paths: readonly string[]): Promise<string | undefined> {
  const dialog = document.createElement("dialog");
  dialog.className = "quick-open";
  dialog.setAttribute("aria-label", "Open a file");
  const before = document.activeElement;
  let found: string[] = [];
  let at = 0;
  let chosen: string | undefined;
  const choose = (path: string | undefined): void => {
    chosen = path;
    dialog.close();
  };
  const draw = (query: string): void => {
    found = matching(paths, query).slice(0, SHOWN_MAX);
    at = Math.min(at, Math.max(0, found.length - 1));
    render(view(query), dialog);
  };
  const onKey = (event: KeyboardEvent): void => {
    const query = (event.target as HTMLInputElement).value;
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (event.key === "Enter") choose(found[at]);
    if (step !== 0 || event.key === "Enter") event.preventDefault();
    if (step === 0) return;
    at = (at + step + found.length) % Math.max(1, found.length);
    draw(query);
  };
  const view = (query: string): TemplateResult => html`
    <input type="text" role="combobox" aria-expanded="true" aria-controls="quick-list" aria-label="Part of a file’s path" placeholder="Find a file" spellcheck="false" autocomplete="off"
      aria-activedescendant=${found.length > 0 ? `quick-${at}` : nothing}
      @keydown=${onKey} @input=${(event: InputEvent) => { at = 0; draw((event.target as HTMLInputElement).value); }} />
    <ul id="quick-list" role="listbox" aria-label="Files">
      ${found.map((path, index) => html`
        <li id="quick-${index}" role="option" aria-selected=${String(index === at)} @click=${() => choose(path)}>
          <span>${baseName(path)}</span> <span class="aside">${folderOf(path)}</span>
        </li>`)}
    </ul>
    ${found.length === 0 ? html`<p class="hint">No file has ${query ? `“${query}” in its path` : "been made yet"}.</p>` : nothing}`;
  return new Promise((resolve) => {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before instanceof HTMLElement) before.focus();
      resolve(chosen);
    });
    draw("");
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Those that have the query's letters in order; the more of them in the name, and the shorter, the earlier. */
function matching(paths: readonly string[], query: string): string[] {
  const letters = query.toLowerCase().replaceAll(" ", "");
  const rank = (path: string): number => {
    const name = baseName(path).toLowerCase();
    if (name.startsWith(letters)) return 0;
    if (name.includes(letters)) return 1;
    return path.toLowerCase().includes(letters) ? 2 : 3;
  };
  return paths
    .filter((path) => hasInOrder(path.toLowerCase(), letters))
    .sort((a, b) => rank(a) - rank(b) || a.length - b.length || (a < b ? -1 : 1));
}

function hasInOrder(path: string, letters: string): boolean {
  let at = 0;
  for (const letter of letters) {
    at = path.indexOf(letter, at) + 1;
    if (at === 0) return false;
  }
  return true;
}
