// The npm package: what it holds, and what it does not.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const root = new URL("../../", import.meta.url).pathname;
const engine = join(root, "engine/wasm");
const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--silent"], { cwd: engine, encoding: "utf8" }));
const paths = files.map(({ path }) => path);
const read = (path) => readFileSync(join(engine, path), "latin1");

test("npm pack takes what is needed and nothing else", () => {
  const others = paths.filter((path) => !/^(package\.json|README\.md|pkg\/(LICENSE|\w+\.js|\w+\.d\.ts|wasm_bg\.wasm))$/.test(path));
  assert.deepEqual(others, []);
  for (const path of ["pkg/index.js", "pkg/index.d.ts", "pkg/wasm.js", "pkg/wasm_bg.wasm", "pkg/LICENSE"]) {
    assert.ok(paths.includes(path), path);
  }
});

test("no path of the machine that built it is in the package", () => {
  for (const path of paths) {
    for (const folder of [root, homedir()]) {
      if (folder.length > 1) assert.ok(!read(path).includes(folder), `${folder} in ${path}`);
    }
  }
});

test("the public types have no any", () => {
  for (const path of paths.filter((path) => path.endsWith(".d.ts"))) {
    // What wasm-bindgen says of the wasm's raw exports is for its own JavaScript.
    const types = read(path).replace(/export interface InitOutput \{[^}]*\}/, "");
    assert.doesNotMatch(types, /[:<|&(,]\s*any\b|\bany\[\]/, path);
  }
});
