import { RangeSet, RangeSetBuilder, RangeValue, StateEffect, StateField, Text, type EditorState, type Extension } from "@codemirror/state";
import { invertedEffects } from "@codemirror/commands";

// CodeMirror knows one line break. What a file really has (CRLF, a lone CR, a mixture, a byte order mark) is kept
// beside the document, so that what nobody touched stays as it was, byte for byte.

export type LineEnd = "\n" | "\r\n" | "\r";

const BREAK = /\r\n?|\n/g;
const BOM = "\uFEFF";

/** A line break that is not the document's usual one; its range is that line break. */
class OddEnd extends RangeValue {
  // Text typed right before or after the break stays outside, and a deleted break takes its mark along.
  override startSide = 1;
  override endSide = -1;

  constructor(readonly end: LineEnd) {
    super();
  }

  override eq(other: RangeValue): boolean {
    return other instanceof OddEnd && other.end === this.end;
  }
}

export interface Shape {
  bom: boolean;
  end: LineEnd;
  odd: RangeSet<OddEnd>;
}

export interface Parsed {
  doc: Text;
  shape: Shape;
}

/** Splits a file's text into what the editor shows and what it looks like on disk. */
export function parse(text: string): Parsed {
  const bom = text.startsWith(BOM);
  const body = bom ? text.slice(1) : text;
  const end = usualEnd(body);
  const odd = new RangeSetBuilder<OddEnd>();
  const lines: string[] = [];
  let from = 0;
  let shown = 0;
  for (const match of body.matchAll(BREAK)) {
    const line = body.slice(from, match.index);
    lines.push(line);
    shown += line.length;
    if (match[0] !== end) odd.add(shown, shown + 1, new OddEnd(match[0] as LineEnd));
    shown += 1;
    from = match.index + match[0].length;
  }
  lines.push(body.slice(from));
  return { doc: Text.of(lines), shape: { bom, end, odd: odd.finish() } };
}

/** The opposite of `parse`. */
export function print(doc: Text, shape: Shape): string {
  let text = shape.bom ? BOM : "";
  let from = 0;
  for (const cursor = shape.odd.iter(); cursor.value; cursor.next()) {
    text += doc.sliceString(from, cursor.from, shape.end) + cursor.value.end;
    from = cursor.to;
  }
  return text + doc.sliceString(from, doc.length, shape.end);
}

function usualEnd(body: string): LineEnd {
  let crlf = 0;
  let cr = 0;
  let lf = 0;
  for (const [found] of body.matchAll(BREAK)) {
    if (found === "\r\n") crlf += 1;
    else if (found === "\r") cr += 1;
    else lf += 1;
  }
  if (crlf > lf && crlf >= cr) return "\r\n";
  return cr > lf ? "\r" : "\n";
}

export const setShape = StateEffect.define<Shape>();
interface Mark {
  from: number;
  end: LineEnd;
}
const addOdd = StateEffect.define<Mark[]>({
  map: (marks, changes) => marks.map((mark) => ({ ...mark, from: changes.mapPos(mark.from, 1) })),
});

const shapeField = StateField.define<Shape>({
  create: () => ({ bom: false, end: "\n", odd: RangeSet.empty }),
  update(shape, transaction) {
    let { odd } = shape;
    if (transaction.docChanged && odd.size > 0) odd = odd.map(transaction.changes);
    let next = odd === shape.odd ? shape : { ...shape, odd };
    for (const effect of transaction.effects) {
      if (effect.is(setShape)) next = effect.value;
      if (effect.is(addOdd)) next = { ...next, odd: withMarks(next.odd, effect.value) };
    }
    return next;
  },
});

function withMarks(odd: RangeSet<OddEnd>, marks: readonly Mark[]): RangeSet<OddEnd> {
  return odd.update({ add: marks.map((mark) => new OddEnd(mark.end).range(mark.from, mark.from + 1)), sort: true });
}

/** Undoing a deletion brings odd line breaks back as they were. */
const undoable = invertedEffects.of((transaction) => {
  const { odd } = transaction.startState.field(shapeField);
  if (!transaction.docChanged || odd.size === 0) return [];
  const lost: Mark[] = [];
  transaction.changes.iterChangedRanges((fromA, toA) => {
    odd.between(fromA, toA, (from, to, value) => {
      if (from >= fromA && to <= toA) lost.push({ from, end: value.end });
    });
  });
  return lost.length > 0 ? [addOdd.of(lost)] : [];
});

export function lineEnds(shape: Shape): Extension {
  return [shapeField.init(() => shape), undoable];
}

export const shapeOf = (state: EditorState): Shape => state.field(shapeField);
export const textOf = (state: EditorState): string => print(state.doc, shapeOf(state));

/** As a status bar says it. */
export function describe({ bom, end, odd }: Shape): string {
  const names: Record<LineEnd, string> = { "\n": "LF", "\r\n": "CRLF", "\r": "CR" };
  return `UTF-8${bom ? " BOM" : ""} · ${odd.size > 0 ? "mixed" : names[end]}`;
}
