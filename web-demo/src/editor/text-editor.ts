import { EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import type { Device } from "../device/device";
import { describe, shapeOf, textOf } from "./line-ends";
import { changeTo, fromElsewhere, OpenDocument } from "./open-document";
import { editorHost } from "./setup";

export interface Place {
  line: number;
  col: number;
}

/** The one editor that shows whichever document's tab is active. */
export class TextEditor {
  readonly host: HTMLElement;
  readonly #view: EditorView;
  readonly #documents = new Map<string, OpenDocument>();
  readonly #shared: Extension;
  #shown: OpenDocument | null = null;

  constructor(private readonly device: Device, private readonly told: (about: string) => void) {
    const { host, root } = editorHost("text-editor");
    this.host = host;
    this.#shared = EditorView.updateListener.of((update) => {
      const isTyped = update.transactions.some((transaction) => transaction.docChanged && !transaction.annotation(fromElsewhere));
      if (isTyped && this.#shown) device.write(this.#shown.key, textOf(update.state));
      if (update.docChanged || update.selectionSet) this.#tell();
    });
    this.#view = new EditorView({ root, parent: root, state: EditorState.create({}) });
  }

  /** Shows a document; false where it is no text. */
  show(key: string): boolean {
    const text = this.device.client.text(key);
    if (text === undefined) return false;
    if (this.#shown?.key === key) return true;
    this.#putAside();
    const open = this.#documents.get(key) ?? this.#make(key, text);
    this.#shown = open;
    this.#view.setState(open.state);
    this.#view.dispatch(open.scroll ? { effects: open.scroll } : {});
    this.#bringUpToDate(open);
    this.#tell();
    return true;
  }

  hide(): void {
    this.#putAside();
    this.#shown = null;
    this.told("");
  }

  close(key: string): void {
    if (this.#shown?.key === key) this.hide();
    this.#documents.delete(key);
  }

  /** Takes over what happened elsewhere, for open documents as a change that undo does not touch. */
  changed(keys: readonly string[]): void {
    for (const key of keys) {
      const open = this.#documents.get(key);
      if (open) this.#bringUpToDate(open);
    }
  }

  focus(): void {
    this.#view.focus();
  }

  get place(): Place {
    const { head } = this.#view.state.selection.main;
    const line = this.#view.state.doc.lineAt(head);
    return { line: line.number, col: head - line.from + 1 };
  }

  goTo({ line, col }: Place): void {
    const { doc } = this.#view.state;
    const at = doc.line(Math.max(1, Math.min(doc.lines, line)));
    const anchor = at.from + Math.max(0, Math.min(at.length, col - 1));
    this.#view.dispatch({ selection: { anchor }, scrollIntoView: true });
  }

  #make(key: string, text: string): OpenDocument {
    const open = new OpenDocument(key, text, this.#shared);
    this.#documents.set(key, open);
    void open.highlight().then((spec) => {
      if (this.#shown === open) this.#view.dispatch(spec);
      else open.state = open.state.update(spec).state;
    });
    return open;
  }

  #bringUpToDate(open: OpenDocument): void {
    const text = this.device.client.text(open.key);
    if (text === undefined) return;
    const isShown = this.#shown === open;
    const spec = changeTo(isShown ? this.#view.state : open.state, text);
    if (!spec) return;
    if (isShown) this.#view.dispatch(spec);
    else open.state = open.state.update(spec).state;
  }

  #putAside(): void {
    if (!this.#shown) return;
    this.#shown.state = this.#view.state;
    this.#shown.scroll = this.#view.scrollSnapshot();
  }

  #tell(): void {
    if (!this.#shown) return;
    const { line, col } = this.place;
    this.told(`Ln ${line}, Col ${col} · ${describe(shapeOf(this.#view.state))} · ${this.#shown.language}`);
  }
}
