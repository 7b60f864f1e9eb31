import type { Extension } from "@codemirror/state";

type Load = () => Promise<Extension>;

const javascript = (config: { jsx?: boolean; typescript?: boolean }): Load => async () =>
  (await import("@codemirror/lang-javascript")).javascript(config);

const LANGUAGES: Record<string, [name: string, load: Load]> = {
  rs: ["Rust", async () => (await import("@codemirror/lang-rust")).rust()],
  ts: ["TypeScript", javascript({ typescript: true })],
  tsx: ["TypeScript", javascript({ typescript: true, jsx: true })],
  js: ["JavaScript", javascript({})],
  mjs: ["JavaScript", javascript({})],
  jsx: ["JavaScript", javascript({ jsx: true })],
  json: ["JSON", async () => (await import("@codemirror/lang-json")).json()],
  md: ["Markdown", async () => (await import("@codemirror/lang-markdown")).markdown()],
  py: ["Python", async () => (await import("@codemirror/lang-python")).python()],
  html: ["HTML", async () => (await import("@codemirror/lang-html")).html()],
  css: ["CSS", async () => (await import("@codemirror/lang-css")).css()],
};

const ending = (path: string): string => /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";

/** A context page is Markdown, whatever its name. */
export function languageName(path: string, isPage: boolean): string {
  return LANGUAGES[isPage ? "md" : ending(path)]?.[0] ?? "Plain text";
}

export async function loadLanguage(path: string, isPage: boolean): Promise<Extension> {
  return (await LANGUAGES[isPage ? "md" : ending(path)]?.[1]()) ?? [];
}
