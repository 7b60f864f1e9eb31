import { Annotation, Compartment, EditorState, Transaction, type Extension, type StateEffect, type TransactionSpec } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { diff } from "@nself/sync";
import { baseName, isPage } from "../keys";
import { languageName, loadLanguage } from "./languages";
import { lineEnds, parse, setShape, textOf } from "./line-ends";
import { basics, comforts } from "./setup";

/** Marks a transaction that brings in what happened elsewhere: it is not the user's, and not written back. */
export const fromElsewhere = Annotation.define<boolean>();

/** A document in a tab: the editor's state while another tab is shown, with its undo history. */
export class OpenDocument {
  state: EditorState;
  scroll: StateEffect<unknown> | null = null;
  readonly language: string;
  readonly #languageSlot = new Compartment();

  constructor(readonly key: string, text: string, shared: Extension) {
    const { doc, shape } = parse(text);
    this.language = languageName(baseName(key), isPage(key));
    this.state = EditorState.create({
      doc,
      extensions: [
        basics,
        comforts,
        shared,
        lineEnds(shape),
        this.#languageSlot.of([]),
        EditorView.contentAttributes.of({ "aria-label": `Text of ${key}` }),
      ],
    });
  }

  /** The transaction that makes the language known, once it is loaded. */
  async highlight(): Promise<TransactionSpec> {
    const extension = await loadLanguage(baseName(this.key), isPage(this.key));
    return { effects: this.#languageSlot.reconfigure(extension) };
  }
}

/** The smallest change that turns what is shown into `text`: cursors, folds and the undo history survive it. */
export function changeTo(state: EditorState, text: string): TransactionSpec | null {
  const shown = textOf(state);
  if (shown === text) return null;
  const { doc, shape } = parse(text);
  let at = 0;
  const changes = diff(state.doc.toString(), doc.toString()).map(([skip, remove, insert]) => {
    const from = at + skip;
    at = from + remove;
    return { from, to: at, insert };
  });
  return {
    changes,
    effects: setShape.of(shape),
    annotations: [fromElsewhere.of(true), Transaction.addToHistory.of(false)],
  };
}
