// `cargo xtask bench wasm`: the package as a browser loads it, in bytes.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { brotliCompressSync, constants } from "node:zlib";

const engine = new URL("../../engine/wasm/", import.meta.url);
const { build } = createRequire(engine)("esbuild");

/** Of wasm and JavaScript together, after brotli 11. */
const AIM = 64 * 1024;

const { outputFiles } = await build({
  absWorkingDir: engine.pathname, entryPoints: ["pkg/index.js"], bundle: true, minify: true, format: "esm", write: false,
});
const parts = { wasm: await readFile(new URL("pkg/wasm_bg.wasm", engine)), JavaScript: outputFiles[0].contents };
const brotli = (bytes) =>
  brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  }).length;

let total = 0;
for (const [name, bytes] of Object.entries(parts)) {
  total += brotli(bytes);
  console.log(`${name.padEnd(12)}${String(bytes.length).padStart(9)} bytes, ${String(brotli(bytes)).padStart(7)} after brotli 11`);
}
console.log(`${"together".padEnd(12)}${"".padStart(16)} ${String(total).padStart(7)}; the aim is ${AIM}`);
