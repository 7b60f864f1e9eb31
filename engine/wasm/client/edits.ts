import { SyncError } from "./errors.js";
import type { Json, Replica } from "./types.js";

/**
 * What a person did, complete enough to be done again on another tab's replica: `seen` is where the device stood in the
 * host's history, and `base` what was there.
 */
export type Edit =
  | { kind: "set"; key: string; value: Json; seen: number; at: number }
  /** A document's content, or null for its removal, and what it was made from. */
  | { kind: "write"; key: string; base: Uint8Array | null; content: string | Uint8Array | null; at: number }
  /** An entry with all its fields. */
  | { kind: "remove"; key: string; base: Uint8Array | null; seen: number; at: number }
  /** Takes back what the host rejected. */
  | { kind: "revert"; key: string; at: number }
  /** Takes note of a write that lost. */
  | { kind: "acknowledge"; key: string; at: number };

/** Text as UTF-8. */
export function toBytes(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/** Does an edit on the replica that it was made on. */
export function apply(replica: Replica, edit: Edit): void {
  switch (edit.kind) {
    case "set":
      return replica.set(edit.key, edit.value, edit.at);
    case "write":
      return edit.content === null
        ? replica.remove(edit.key, edit.at)
        : replica.write(edit.key, edit.content, edit.at);
    case "remove":
      return replica.remove(edit.key, edit.at);
    case "revert":
      return replica.revert(edit.key);
    case "acknowledge":
      return replica.acknowledge(edit.key);
  }
}

/** Does an edit that was made elsewhere, where others' writes may have been unknown that are here by now. */
export function applyOnto(replica: Replica, edit: Edit): void {
  switch (edit.kind) {
    case "set":
      return replica.setFrom(edit.key, edit.value, edit.seen, edit.at);
    case "write":
      return replica.writeOnto(edit.key, edit.base, edit.content === null ? null : toBytes(edit.content), edit.at);
    case "remove":
      return replica.removeFrom(edit.key, edit.base, edit.seen, edit.at);
    case "revert":
    case "acknowledge":
      return apply(replica, edit);
  }
}

/** Edits that are shown but not durable yet, in order, with the promises of those who made them. */
export class EditQueue {
  #waiting: Waiting[] = [];
  #isSealed = false;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  get edits(): Edit[] {
    return this.#waiting.map(({ edit }) => edit);
  }

  /** Resolves when the edit is durable. */
  add(edit: Edit): Promise<void> {
    return new Promise((resolve, reject) => {
      const last = this.#waiting.at(-1);
      const follows = !this.#isSealed && last !== undefined && isContinued(last.edit, edit);
      this.#isSealed = false;
      if (follows) {
        last.edit = edit.kind === "write" && last.edit.kind === "write" ? { ...edit, base: last.edit.base } : edit;
        last.promises.push({ resolve, reject });
      } else {
        this.#waiting.push({ edit, promises: [{ resolve, reject }] });
      }
    });
  }

  /** Others' edits arrived: what is added next is made from something else than what was added last. */
  seal(): void {
    this.#isSealed = true;
  }

  /** Takes all of them out. */
  drain(): Waiting[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  /** Puts back what was drained: it is older than all that came since. */
  putBack(waiting: Waiting[]): void {
    this.#waiting = [...waiting, ...this.#waiting];
  }
}

/** An edit, and who waits for it. */
export interface Waiting {
  edit: Edit;
  promises: { resolve: () => void; reject: (error: SyncError) => void }[];
}

export function settle(waiting: Waiting[], error?: SyncError): void {
  for (const { promises } of waiting) {
    for (const { resolve, reject } of promises.splice(0)) error === undefined ? resolve() : reject(error);
  }
}

/** Whether the newer of two edits, made one right after the other, says all that the older said. */
function isContinued(older: Edit, newer: Edit): boolean {
  if (older.kind === "set" && newer.kind === "set") return older.key === newer.key;
  if (older.kind === "write" && newer.kind === "write") return older.key === newer.key;
  return false;
}
