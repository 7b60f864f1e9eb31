import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const ROOT = new URL("../../..", import.meta.url).pathname;
/** The demo as it is built, and the package as npm gives it. */
export const DEMO = join(ROOT, "web-demo/dist");
export const PACKAGE = join(ROOT, "engine/wasm/pkg");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm" };

/**
 * A folder on an origin of its own, so that it stays when the sync server is killed. Where the folder has no page, an
 * empty one is given.
 */
export async function serveSite(folder = DEMO) {
  const server = createServer((request, response) => {
    const asked = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    const path = asked === "/" ? "/index.html" : asked;
    const file = join(folder, path);
    if (!existsSync(file)) {
      response.writeHead(asked === "/" ? 200 : 404, { "content-type": "text/html" }).end("<!doctype html>");
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "cache-control": "max-age=3600" }).end(readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close() };
}
