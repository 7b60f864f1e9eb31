// The wasm against the vectors: it answers byte for byte what Rust answers.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";
import * as shipped from "../../engine/wasm/pkg/wasm.js";
import * as open from "../../target/vectors/wasm.js";

const root = new URL("../../", import.meta.url);
const read = (path) => readFile(new URL(path, root));
const cases = async (path) => JSON.parse(await read(`tests/vectors/${path}.json`));

shipped.initSync({ module: await read("engine/wasm/pkg/wasm_bg.wasm") });
open.initSync({ module: await read("target/vectors/wasm_bg.wasm") });

const bytes = (text) => new TextEncoder().encode(text);
const text = (bytes) => bytes && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

test("every merge is what git merge-file made of it", async () => {
  const all = await cases("merge/cases");
  assert.ok(all.length > 3000, `only ${all.length} cases`);
  for (const { name, base, mine, theirs, git } of all) {
    const merged = shipped.merge(bytes(base), bytes(mine), bytes(theirs));
    assert.equal(text(merged) ?? null, git, name);
  }
});

for (const file of (await readdir(new URL("tests/vectors/wire", root))).sort()) {
  const name = file.replace(".json", "");
  test(`${name}: the answers are Rust's`, async () => {
    const all = await cases(`wire/${name}`);
    assert.ok(all.length > 40, `only ${all.length} cases`);
    for (const { name: which, input, output } of all) {
      assert.deepEqual(JSON.parse(open.answer(name, JSON.stringify(input))), output, which);
    }
  });
}

test("a diff is in UTF-16 units and leads from one text to the other", () => {
  assert.deepEqual(shipped.diff("", ""), []);
  assert.deepEqual(shipped.diff("a😀b\n", "a😀c\n"), [[3, 1, "c"]]);
  const texts = ["", "one\r\ntwo\r\n", "one\r\n2 — é\r\ntwo", "\ufeffone\ntwo\n", "😀😀\n".repeat(50), `${"😀é\n".repeat(50)}end`];
  for (const from of texts) {
    for (const to of texts) {
      let [made, at] = ["", 0];
      for (const [skip, remove, insert] of shipped.diff(from, to)) {
        made += from.slice(at, at + skip) + insert;
        at += skip + remove;
      }
      assert.equal(made + from.slice(at), to);
    }
  }
});
