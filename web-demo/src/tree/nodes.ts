/** A row of the tree as it is shown: folders before files, both by name; what is in a closed folder is left out. */
export interface Row {
  path: string;
  name: string;
  depth: number;
  isFolder: boolean;
  isOpen: boolean;
}

interface Folder {
  folders: Map<string, Folder>;
  files: string[];
}

const newFolder = (): Folder => ({ folders: new Map(), files: [] });
const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** `emptyFolders` are those the person made and has put nothing in yet: the host knows files only. */
export function rows(paths: readonly string[], emptyFolders: Iterable<string>, isOpen: (folder: string) => boolean): Row[] {
  const root = newFolder();
  const folderAt = (path: string): Folder => {
    let folder = root;
    for (const name of path.split("/").filter(Boolean)) {
      const next = folder.folders.get(name) ?? newFolder();
      folder.folders.set(name, next);
      folder = next;
    }
    return folder;
  };
  for (const path of emptyFolders) folderAt(path);
  for (const path of paths) {
    const cut = path.lastIndexOf("/");
    folderAt(path.slice(0, Math.max(0, cut))).files.push(path.slice(cut + 1));
  }
  const shown: Row[] = [];
  const show = (folder: Folder, prefix: string, depth: number): void => {
    for (const [name, inner] of [...folder.folders].sort(([a], [b]) => byName.compare(a, b))) {
      const path = prefix + name;
      const open = isOpen(path);
      shown.push({ path, name, depth, isFolder: true, isOpen: open });
      if (open) show(inner, `${path}/`, depth + 1);
    }
    for (const name of [...folder.files].sort(byName.compare)) {
      shown.push({ path: prefix + name, name, depth, isFolder: false, isOpen: false });
    }
  };
  show(root, "", 0);
  return shown;
}

/** The paths of a file, or of all that is in a folder. */
export function within(paths: readonly string[], path: string, isFolder: boolean): string[] {
  return isFolder ? paths.filter((other) => other.startsWith(`${path}/`)) : [path];
}

/** Files whose names differ only in case or Unicode form: one of them would be lost on many a disk. */
export function twins(paths: readonly string[]): Set<string> {
  const seen = new Map<string, string>();
  const found = new Set<string>();
  for (const path of paths) {
    const folded = path.normalize("NFC").toLowerCase();
    const other = seen.get(folded);
    if (other !== undefined) found.add(path).add(other);
    seen.set(folded, path);
  }
  return found;
}
