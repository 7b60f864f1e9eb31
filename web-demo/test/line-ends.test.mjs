import assert from "node:assert/strict";
import { after, test } from "node:test";
import { EditorState } from "@codemirror/state";
import { history, undo, redo } from "@codemirror/commands";
import { close, load } from "./modules.mjs";

const { lineEnds, parse, print, textOf, setShape } = await load("/src/editor/line-ends.ts");
after(close);

const TEXTS = {
  "no line break": "a",
  "nothing at all": "",
  "a byte order mark alone": "\uFEFF",
  "two byte order marks": "\uFEFF\uFEFFa\r\n",
  "LF": "a\nb\n",
  "CRLF": "a\r\nb\r\n",
  "CR": "a\rb\r",
  "CRLF without one at the end": "a\r\nb",
  "a byte order mark and CRLF": "\uFEFFa\r\nb\r\n",
  "mostly LF": "a\nb\r\nc\nd\re\n",
  "mostly CRLF": "a\r\nb\nc\r\nd\r\n\n",
  "CR before CRLF": "a\r\r\nb\r\r\n",
  "empty lines of all kinds": "\n\r\n\r\r\n\n",
  "line separators that are none": "a\u2028b\u0085c\vd\n",
};

function open(text) {
  const { doc, shape } = parse(text);
  return EditorState.create({ doc, extensions: [lineEnds(shape), history()] });
}
const typed = (state, changes) => state.update({ changes, userEvent: "input" }).state;
const run = (state, command) => {
  let next = state;
  command({ state, dispatch: (transaction) => (next = transaction.state) });
  return next;
};

for (const [name, text] of Object.entries(TEXTS)) {
  test(`${name} survives being opened`, () => assert.equal(textOf(open(text)), text));
}

test("random mixtures survive being opened", () => {
  let seed = 1;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  for (let round = 0; round < 2000; round += 1) {
    const text = Array.from({ length: random(12) }, () => ["a", "b", "\n", "\r\n", "\r", "\uFEFF"][random(6)]).join("");
    const { doc, shape } = parse(text);
    assert.equal(print(doc, shape), text);
  }
});

test("a letter typed into a CRLF file changes that letter only", () => {
  const state = typed(open("\uFEFFa\r\nb\r\n"), { from: 1, insert: "x" });
  assert.equal(textOf(state), "\uFEFFax\r\nb\r\n");
});

test("a new line gets the file's own line end", () => {
  assert.equal(textOf(typed(open("a\r\nb\r\n"), { from: 3, insert: "\nc" })), "a\r\nb\r\nc\r\n");
});

test("typing at either side of an odd line end leaves it", () => {
  const before = open("a\nb\r\nc\nd\n");
  assert.equal(textOf(typed(before, { from: 3, insert: "x" })), "a\nbx\r\nc\nd\n");
  assert.equal(textOf(typed(before, { from: 4, insert: "x" })), "a\nb\r\nxc\nd\n");
  assert.equal(textOf(typed(before, { from: 3, insert: "\n" })), "a\nb\n\r\nc\nd\n");
});

test("a removed odd line end is gone, and undo brings it back as it was", () => {
  const joined = typed(open("a\nb\r\nc\nd\n"), { from: 3, to: 4 });
  assert.equal(textOf(joined), "a\nbc\nd\n");
  const undone = run(joined, undo);
  assert.equal(textOf(undone), "a\nb\r\nc\nd\n");
  assert.equal(textOf(run(undone, redo)), "a\nbc\nd\n");
});

test("undo brings back a replaced text with all its line ends", () => {
  const text = "a\r\nb\nc\rd\r\ne\r\n";
  const all = open(text);
  const replaced = typed(all, { from: 0, to: all.doc.length, insert: "x\ny" });
  assert.equal(textOf(replaced), "x\r\ny");
  assert.equal(textOf(run(replaced, undo)), text);
});

test("what comes from elsewhere brings its own line ends, and undo of one's own edit keeps them", () => {
  const own = typed(open("a\nb\n"), { from: 1, insert: "x" });
  const { doc, shape } = parse("ax\r\nb\r\n");
  const arrived = own.update({ changes: { from: 0, to: own.doc.length, insert: doc }, effects: setShape.of(shape) }).state;
  assert.equal(textOf(arrived), "ax\r\nb\r\n");
});
