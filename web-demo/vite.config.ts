import { defineConfig, type Plugin } from "vite";

// What the page may do: its own scripts and styles, WebAssembly, and talk to a host (any, for #url=).
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self' http: https: ws: wss:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Only in what is built: the development server injects styles inline. */
const policy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
  ],
};

export default defineConfig({
  base: "./",
  plugins: [policy],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
