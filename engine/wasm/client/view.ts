import type { Json, Replica } from "./types.js";

/** What a user sees under one key, to be compared. */
type Sight = Uint8Array | Json | undefined;

/** What a user sees under some keys at one time. */
export class View {
  readonly #sights = new Map<string, Sight>();

  constructor(replica: Replica, keys: Iterable<string>) {
    for (const key of keys) this.#sights.set(key, look(replica, key));
  }

  /** The keys under which the replica shows something else by now. */
  changedIn(replica: Replica): string[] {
    return [...this.#sights].filter(([key, sight]) => !isSame(sight, look(replica, key))).map(([key]) => key);
  }
}

/** The keys under which two replicas show different things. */
export function differences(before: Replica, after: Replica): string[] {
  return new View(before, new Set([...before.keys(""), ...after.keys("")])).changedIn(after);
}

function look(replica: Replica, key: string): Sight {
  return replica.bytes(key) ?? replica.get(key) ?? replica.has(key);
}

function isSame(one: Sight, other: Sight): boolean {
  if (one instanceof Uint8Array && other instanceof Uint8Array) {
    return one.length === other.length && one.every((byte, at) => byte === other[at]);
  }
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}
