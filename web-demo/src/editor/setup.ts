import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, foldGutter, foldKeymap, indentOnInput } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  crosshairCursor, drawSelection, dropCursor, EditorView, highlightActiveLine, highlightActiveLineGutter,
  highlightSpecialChars, keymap, lineNumbers, rectangularSelection,
} from "@codemirror/view";
import { theme } from "./theme";

/** What every editor on the page has. */
export const basics: Extension = [
  lineNumbers(),
  highlightSpecialChars(),
  history(),
  drawSelection(),
  EditorState.allowMultipleSelections.of(true),
  indentOnInput(),
  EditorView.lineWrapping,
  bracketMatching(),
  closeBrackets(),
  highlightSelectionMatches(),
  keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, indentWithTab]),
  theme,
];

/** What the main editor has on top. */
export const comforts: Extension = [
  highlightActiveLine(),
  highlightActiveLineGutter(),
  foldGutter(),
  dropCursor(),
  rectangularSelection(),
  crosshairCursor(),
  autocompletion(),
  search({ top: true }),
];

/** Only to look at: no editing, yet a cursor for the keyboard. */
export const lookOnly: Extension = [EditorState.readOnly.of(true), EditorView.contentAttributes.of({ "aria-readonly": "true" })];

/**
 * An element for an editor, and the shadow root it lives in: there CodeMirror adopts its style sheets; in the
 * document itself it would add a <style>, which the page's policy forbids.
 */
export function editorHost(className: string): { host: HTMLElement; root: ShadowRoot } {
  const host = document.createElement("div");
  host.className = className;
  return { host, root: host.attachShadow({ mode: "open" }) };
}
