import type { Replica } from "./types.js";

const FILES = "files/";

/**
 * Files whose names differ only in case or Unicode form: two files here, but one file on the disk of many machines.
 * They are kept apart and reported, never renamed.
 */
export class Lookalikes {
  readonly #byName = new Map<string, Set<string>>();

  constructor(replica: Replica) {
    for (const key of replica.keys(FILES)) this.#names(key).add(key);
  }

  /** Looks at keys that changed: those that exist now and look like others, which are given with them. */
  update(replica: Replica, keys: Iterable<string>): { key: string; others: string[] }[] {
    const found = [];
    for (const key of keys) {
      if (!key.startsWith(FILES)) continue;
      const names = this.#names(key);
      if (!replica.has(key)) {
        names.delete(key);
      } else if (!names.has(key)) {
        names.add(key);
        if (names.size > 1) found.push({ key, others: [...names].filter((other) => other !== key) });
      }
    }
    return found;
  }

  #names(key: string): Set<string> {
    const folded = key.normalize("NFC").toLowerCase();
    const names = this.#byName.get(folded) ?? new Set();
    this.#byName.set(folded, names);
    return names;
  }
}
