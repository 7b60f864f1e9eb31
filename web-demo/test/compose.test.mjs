import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Text } from "@codemirror/state";
import { close, load } from "./modules.mjs";

const { compose } = await load("/src/conflict/compose.ts");
after(close);

const text = (content) => Text.of(content.split("\n"));
const start = (base, mine, theirs) => compose(text(base), text(mine), text(theirs));
const BASE = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

test("their changes away from mine are in, the colliding one is mine", () => {
  const mine = BASE.replace("2", "mine").replace("8", "mine too");
  const theirs = BASE.replace("2", "theirs").replace("5", "theirs alone");
  assert.deepEqual(start(BASE, mine, theirs), { text: "1\nmine\n3\n4\ntheirs alone\n6\n7\nmine too\n9\n", taken: 1, clashing: 1 });
});

test("lines that mine added or removed before do not misplace theirs", () => {
  const mine = BASE.replace("1\n", "0\n0\n1\n").replace("3\n", "");
  const theirs = BASE.replace("6\n", "six\nsix\n").replace("9\n", "");
  assert.equal(start(BASE, mine, theirs).text, "0\n0\n1\n2\n4\n5\nsix\nsix\n7\n8\n");
});

test("what both did the same is no decision", () => {
  const both = BASE.replace("4", "four");
  assert.deepEqual(start(BASE, both, both), { text: both, taken: 0, clashing: 0 });
});

test("an end without a line break stays one", () => {
  assert.equal(start("1\n2\n3\n4", "one\n2\n3\n4", "1\n2\n3\nfour").text, "one\n2\n3\nfour");
  assert.equal(start("1\n2\n3\n4\n", "one\n2\n3\n4\n", "1\n2\n3\n4").text, "one\n2\n3\n4");
});
