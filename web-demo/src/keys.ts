// Changed keys, as docs/protocol.md section 2 names them.

export const FILES = "files/";
export const PAGES = "context_pages/";
export const SESSIONS = "sessions/";
export const ENV = "env_encrypted";

export const fileKey = (path: string): string => FILES + path;
export const pageKey = (id: string): string => PAGES + id;

export const isFile = (key: string): boolean => key.startsWith(FILES);
export const isPage = (key: string): boolean => key.startsWith(PAGES);
export const isDocument = (key: string): boolean => isFile(key) || /^context_pages\/[^/]+$/.test(key);

export const pathOf = (key: string): string => key.slice(FILES.length);
export const pageIdOf = (key: string): string => key.slice(PAGES.length).split("/")[0] ?? "";
export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
export const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** An id for a new session or page: short, and in the order of making. */
export function newId(): string {
  const random = crypto.getRandomValues(new Uint8Array(4));
  return Date.now().toString(36) + Array.from(random, (byte) => byte.toString(36).padStart(2, "0")).join("");
}
