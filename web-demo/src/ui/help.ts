import { html } from "lit-html";
import { modal } from "./dialog";

const GROUPS: [title: string, keys: [keys: string, does: string][]][] = [
  ["Anywhere", [
    ["Ctrl P", "find a file"],
    ["Ctrl S", "push and pull now (everything is saved as you type)"],
    ["Alt N", "new file"],
    ["Alt W", "close the tab"],
    ["Alt 1 … 9", "go to a tab"],
    ["Alt PgUp or PgDn", "previous, next tab"],
    ["Ctrl B", "show or hide the side bar"],
    ["Ctrl J", "show or hide the history"],
    ["Alt O", "this device offline, online"],
    ["F6 or Shift F6", "next, previous area; from device to device"],
    ["F8", "next conflict"],
    ["F1", "this help"],
  ]],
  ["In the file tree", [
    ["↑ ↓ ← →", "move, open, close"],
    ["Enter", "open"],
    ["F2", "rename or move"],
    ["Del", "delete"],
    ["A … Z", "go to the next name that begins so"],
  ]],
  ["In the editor", [
    ["Ctrl F", "find and replace"],
    ["Ctrl Z or Ctrl Y", "undo, redo; only your own edits"],
    ["Ctrl /", "comment"],
    ["Esc then Tab", "leave the editor (Tab alone indents)"],
  ]],
  ["In a conflict", [
    ["F7 or Shift F7", "next, previous difference"],
    ["Alt T", "take the other side’s text at the cursor"],
  ]],
];

let isOpen = false;

export async function showHelp(): Promise<void> {
  if (isOpen) return;
  isOpen = true;
  await modal<void>("Keyboard", (close) => html`
    <div class="help">
      <header><h2>Keyboard</h2><button class="button" autofocus @click=${() => close()}>Close</button></header>
      <div class="help-groups">
        ${GROUPS.map(([title, keys]) => html`
          <section>
            <h3>${title}</h3>
            <dl>${keys.map(([key, does]) => html`<div><dt>${key.split(" ").map((word) => (/^(…|then|or)$/.test(word) ? html`<span class="aside">${word}</span> ` : html`<kbd>${word}</kbd> `))}</dt><dd>${does}</dd></div>`)}</dl>
          </section>`)}
      </div>
      <p class="hint">On a Mac, Cmd stands for Ctrl and Option for Alt.</p>
    </div>`);
  isOpen = false;
}
