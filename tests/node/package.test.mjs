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

test("no function of the wasm returns a JavaScript value itself: V8 of Node 20's age crashes on those", () => {
  const exports = /export interface InitOutput \{([^}]*)\}/.exec(read("pkg/wasm.d.ts"))[1];
  assert.match(exports, /readonly replica_get: .* => number;/);
  assert.doesNotMatch(exports, /=> any;/);
});

test("a caller that V8 deoptimises while the wasm reads JSON gets its value", () => {
  const script = `
    import { readFileSync } from "node:fs";
    import { Replica, initSync } from "./pkg/wasm.js";
    initSync({ module: readFileSync("pkg/wasm_bg.wasm") });
    const replica = Replica.open("web-1", "web", []);
    replica.set("active_session", "a", 1);
    const get = Replica.prototype.get;
    %PrepareFunctionForOptimization(get);
    for (let times = 0; times < 1000; times += 1) replica.get("active_session");
    %OptimizeFunctionOnNextCall(get);
    replica.get("active_session");
    const parse = JSON.parse;
    JSON.parse = (text) => {
      %DeoptimizeFunction(get);
      return parse(text);
    };
    console.log(replica.get("active_session"));`;
  const flags = ["--allow-natives-syntax", "--no-concurrent-recompilation", "--input-type=module", "--eval"];
  assert.equal(execFileSync(process.execPath, [...flags, script], { cwd: engine, encoding: "utf8" }), "a\n");
});
