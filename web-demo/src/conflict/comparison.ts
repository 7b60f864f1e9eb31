import { getChunks, getOriginalDoc, goToNextChunk, goToPreviousChunk, MergeView, originalDocChangeEffect, rejectChunk, unifiedMergeView } from "@codemirror/merge";
import { ChangeSet, EditorState, Prec, type Extension, type Text } from "@codemirror/state";
import { EditorView, keymap, type Command } from "@codemirror/view";
import { lineEnds, textOf, type Shape } from "../editor/line-ends";
import { basics, editorHost, lookOnly } from "../editor/setup";
import { mergeLooks } from "../editor/theme";
import sheetText from "../styles/merge.css?inline";

export type Layout = "beside" | "inline";

export interface ComparisonOptions {
  layout: Layout;
  /** What is compared with, shown at the left or as removed lines. */
  other: Text;
  result: Text;
  shape: Shape;
  language: Extension;
  /** Without: only to look at. */
  take?: { label: string };
  otherLabel: string;
  resultLabel: string;
}

const COLLAPSE = { margin: 3, minSize: 8 };
const DIFF = { scanLimit: 2000, timeout: 500 };
const sheet = new CSSStyleSheet();
sheet.replaceSync(sheetText);

/** Two versions of a text beside each other, or one within the other; hunks of the first can be taken into the second. */
export class Comparison {
  readonly host: HTMLElement;
  readonly #view: EditorView;
  readonly #merge: MergeView | null;

  constructor(options: ComparisonOptions) {
    const { host, root } = editorHost("comparison");
    root.adoptedStyleSheets.push(sheet);
    this.host = host;
    this.#merge = options.layout === "beside" ? beside(options, root) : null;
    this.#view = this.#merge?.b ?? inline(options, root);
  }

  get text(): string {
    return textOf(this.#view.state);
  }

  get hunks(): number {
    return this.#merge?.chunks.length ?? getChunks(this.#view.state)?.chunks.length ?? 0;
  }

  setOther(other: Text): void {
    const { state } = this.#view;
    if (this.#merge) {
      const { a } = this.#merge;
      a.dispatch({ changes: { from: 0, to: a.state.doc.length, insert: other } });
    } else {
      const original = getOriginalDoc(state).length;
      const changes = ChangeSet.of({ from: 0, to: original, insert: other }, original);
      this.#view.dispatch({ effects: originalDocChangeEffect(state, changes) });
    }
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    if (this.#merge) this.#merge.destroy();
    else this.#view.destroy();
    this.host.remove();
  }
}

function beside(options: ComparisonOptions, root: ShadowRoot): MergeView {
  const { take } = options;
  const shared = [basics, mergeLooks, options.language];
  const merge: MergeView = new MergeView({
    a: { doc: options.other, extensions: [shared, lookOnly, named(options.otherLabel)] },
    b: {
      doc: options.result,
      extensions: [shared, lineEnds(options.shape), named(options.resultLabel), take ? hunkKeys(() => takeAtCursor(merge)) : lookOnly],
    },
    parent: root,
    root,
    gutter: true,
    collapseUnchanged: COLLAPSE,
    diffConfig: DIFF,
    ...(take ? { revertControls: "a-to-b" as const, renderRevertControl: () => hunkButton(take.label) } : {}),
  });
  return merge;
}

function inline(options: ComparisonOptions, root: ShadowRoot): EditorView {
  const { take } = options;
  const controls = (type: "reject" | "accept", action: (event: MouseEvent) => void): HTMLElement => {
    const button = hunkButton(type === "reject" ? (take?.label ?? "") : "Keep");
    button.addEventListener("mousedown", action);
    return button;
  };
  return new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: options.result,
      extensions: [
        basics,
        options.language,
        lineEnds(options.shape),
        named(options.resultLabel),
        unifiedMergeView({ original: options.other, gutter: true, collapseUnchanged: COLLAPSE, diffConfig: DIFF, mergeControls: take ? controls : false }),
        take ? hunkKeys(rejectChunk) : lookOnly,
      ],
    }),
  });
}

const named = (label: string): Extension => EditorView.contentAttributes.of({ "aria-label": label });

function hunkKeys(take: Command): Extension {
  return Prec.high(keymap.of([
    { key: "F7", run: goToNextChunk, shift: goToPreviousChunk, preventDefault: true },
    { key: "Alt-t", run: take, preventDefault: true },
  ]));
}

function takeAtCursor({ a, b, chunks }: MergeView): boolean {
  const { head } = b.state.selection.main;
  const chunk = chunks.find(({ fromB, endB }) => fromB <= head && head <= endB);
  if (!chunk) return false;
  let insert = a.state.sliceDoc(chunk.fromA, Math.max(chunk.fromA, chunk.toA - 1));
  if (chunk.fromA !== chunk.toA && chunk.toB <= b.state.doc.length) insert += "\n";
  b.dispatch({ changes: { from: chunk.fromB, to: Math.min(b.state.doc.length, chunk.toB), insert }, userEvent: "revert" });
  return true;
}

function hunkButton(label: string): HTMLElement {
  const button = document.createElement("button");
  button.className = "hunk-button";
  button.title = `${label} (Alt+T)`;
  button.setAttribute("aria-label", label);
  button.textContent = label;
  // CodeMirror listens for the mouse only; a press by the keyboard is a click of no detail.
  button.addEventListener("click", (event) => {
    if (event.detail === 0) button.dispatchEvent(new MouseEvent("mousedown", { bubbles: true }));
  });
  return button;
}
