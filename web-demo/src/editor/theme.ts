import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";

// Colours are the page's custom properties, which inherit into the editor's shadow root: one theme, light and dark.
const looks = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "var(--paper)", fontSize: "var(--code-size)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-content": { padding: "10px 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 16px 0 6px" },
  ".cm-cursor, .cm-dropCursor": { borderLeft: "2px solid var(--accent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { background: "var(--selection)" },
  ".cm-activeLine": { backgroundColor: "var(--active-line)" },
  ".cm-gutters": { backgroundColor: "var(--paper)", color: "var(--faint)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 6px 0 14px", minWidth: "34px" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--muted)" },
  ".cm-foldGutter .cm-gutterElement": { color: "var(--faint)", cursor: "pointer" },
  ".cm-foldPlaceholder": { background: "var(--raised)", border: "1px solid var(--line)", color: "var(--muted)", padding: "0 6px" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": { backgroundColor: "var(--match)", outline: "none" },
  ".cm-nonmatchingBracket": { color: "var(--bad)" },
  ".cm-selectionMatch": { backgroundColor: "var(--match)" },
  ".cm-searchMatch": { backgroundColor: "var(--match)", outline: "1px solid var(--accent)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--selection)" },
  ".cm-panels": { backgroundColor: "var(--side)", color: "var(--ink)", borderColor: "var(--line)" },
  ".cm-panel.cm-search": { padding: "8px 10px", fontFamily: "var(--sans)", fontSize: "12.5px" },
  ".cm-panel.cm-search input, .cm-panel.cm-search button, .cm-panel.cm-search label": { fontSize: "12px", verticalAlign: "middle" },
  ".cm-panel.cm-search label": { color: "var(--muted)", marginInlineStart: "4px" },
  ".cm-panel.cm-search [name=close]": { fontSize: "18px", color: "var(--muted)", padding: "2px 8px" },
  ".cm-textfield": { background: "var(--paper)", border: "1px solid var(--edge)", borderRadius: "5px", color: "var(--ink)", padding: "3px 7px" },
  ".cm-button": { backgroundImage: "none", backgroundColor: "var(--raised)", padding: "2px 10px", border: "1px solid var(--edge)", borderRadius: "5px", color: "var(--ink)" },
  ".cm-textfield:focus-visible, .cm-button:focus-visible": { outline: "2px solid var(--focus)", outlineOffset: "0" },
  ".cm-tooltip": { background: "var(--raised)", border: "1px solid var(--line)", borderRadius: "6px", boxShadow: "var(--shadow)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { background: "var(--accent-soft)", color: "var(--ink)" },
  ".cm-changedLine, .cm-insertedLine": { backgroundColor: "var(--mine-soft)" },
  ".cm-changedText": { background: "var(--mine-strong)", borderRadius: "2px" },
  "&.cm-merge-b .cm-changedText, .cm-insertedLine .cm-changedText": { background: "var(--mine-strong)" },
  "&.cm-merge-a .cm-changedLine": { backgroundColor: "var(--theirs-soft)" },
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": { background: "var(--theirs-strong)", borderRadius: "2px" },
  ".cm-deletedChunk": { backgroundColor: "var(--theirs-soft)", paddingLeft: "6px" },
  ".cm-changedLineGutter, &.cm-merge-b .cm-changedLineGutter": { background: "var(--mine)" },
  "&.cm-merge-a .cm-changedLineGutter, .cm-deletedLineGutter": { background: "var(--theirs)" },
  ".cm-collapsedLines": { background: "var(--side)", color: "var(--muted)", fontFamily: "var(--sans)", fontSize: "12px", padding: "4px 12px" },
  ".cm-chunkButtons": { insetInlineEnd: "10px", top: "3px" },
});

const colours = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword], color: "var(--code-keyword)" },
  { tag: [t.string, t.special(t.string), t.regexp], color: "var(--code-string)" },
  { tag: [t.comment, t.meta], color: "var(--code-comment)" },
  { tag: [t.number, t.bool, t.null, t.atom], color: "var(--code-number)" },
  { tag: [t.function(t.variableName), t.function(t.propertyName), t.macroName], color: "var(--code-call)" },
  { tag: [t.typeName, t.className, t.namespace, t.tagName], color: "var(--code-type)" },
  { tag: [t.propertyName, t.attributeName, t.labelName], color: "var(--code-name)" },
  { tag: [t.heading, t.strong], color: "var(--code-keyword)", fontWeight: "650" },
  { tag: t.emphasis, fontStyle: "italic" },
  { tag: [t.link, t.url], color: "var(--code-call)", textDecoration: "underline" },
  { tag: t.strikethrough, textDecoration: "line-through" },
  { tag: t.invalid, color: "var(--bad)" },
]);

export const theme = [looks, syntaxHighlighting(colours)];

/** MergeView lays out two editors; it wants to scroll as one. */
export const mergeLooks = EditorView.theme({ "&": { height: "auto" }, ".cm-scroller": { overflowY: "visible" } });
