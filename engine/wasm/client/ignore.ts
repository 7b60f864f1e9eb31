/**
 * Folders that a package manager fills: their names are nobody's own sources. `target`, `vendor`, `build`, `dist` and `venv`
 * are not among them, as editors do not hide them either: many projects keep sources under these names, and a file that
 * silently stays on one device is lost work. Give `ignore` to leave out more.
 */
const FOLDERS = new Set([
  ".git",
  ".hg",
  ".svn",
  "node_modules",
  "bower_components",
  "jspm_packages",
  ".pnpm-store",
  ".venv",
  ".tox",
  "__pycache__",
  ".gradle",
]);

/** Paths that are left out of `files` unless the caller says otherwise: `.env*`, version control, dependencies. */
export function defaultIgnore(path: string): boolean {
  const segments = path.split("/");
  const name = segments.pop() ?? "";
  return name.startsWith(".env") || segments.some((segment) => FOLDERS.has(segment));
}
