import { settle, type EditQueue, type Waiting } from "./edits.js";
import { asSyncError } from "./errors.js";
import type { Tab } from "./seat.js";
import type { JournalWrite, Replica } from "./types.js";

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
/** Up to so many records the other tabs are told the names of what was written; beyond it they read all. */
const NAMES_MAX = 256;

/**
 * Writes the owner's journal: one transaction at a time, what comes meanwhile goes with the next. What cannot be written
 * stays in memory and is tried again; those who wait for it are told at once.
 */
export class Saver {
  readonly #tab: Tab;
  readonly #replica: Replica;
  readonly #term: number;
  readonly #done: () => void;
  #version: number;
  /** Taken from the replica, not written. */
  readonly #unsaved = new Map<string, Uint8Array | null>();
  #batches: number[] = [];
  /** Inbox entries whose edits are among these. */
  #consumed: number[] = [];
  #saving: Promise<void> | undefined;
  #failures = 0;
  #cancelRetry: (() => void) | undefined;
  #isEnded = false;

  constructor(tab: Tab, replica: Replica, { term, version }: { term: number; version: number }, done: () => void) {
    this.#tab = tab;
    this.#replica = replica;
    this.#term = term;
    this.#version = version;
    this.#done = done;
  }

  /** The journal's latest transaction. */
  get version(): number {
    return this.#version;
  }

  get isSaving(): boolean {
    return this.#saving !== undefined;
  }

  /** Whether what is shown is in this page's memory only. */
  get isFailing(): boolean {
    return this.#failures > 0;
  }

  /** The edit of this inbox entry is in the replica. */
  consume(id: number): void {
    this.#consumed.push(id);
  }

  /** Writes what there is, unless it is at it. */
  save(edits: EditQueue): void {
    if (this.#saving !== undefined || this.#cancelRetry !== undefined || this.#isEnded) return;
    for (let batch; (batch = this.#replica.takeWrites()) !== undefined; ) {
      this.#batches.push(batch.no);
      for (const { key, value } of batch.writes) this.#unsaved.set(key, value);
    }
    const waiting = edits.drain();
    if (this.#unsaved.size === 0 && this.#consumed.length === 0) return settle(waiting);
    this.#saving = this.#commit(waiting, edits).finally(() => {
      this.#saving = undefined;
      this.#done();
    });
  }

  /** Tries again without waiting, where it failed. */
  retryNow(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
  }

  /** Writes what there is for the last time. */
  async end(edits: EditQueue): Promise<void> {
    await this.#saving;
    this.retryNow();
    this.save(edits);
    this.#isEnded = true;
    await this.#saving;
    this.retryNow();
  }

  async #commit(waiting: Waiting[], edits: EditQueue): Promise<void> {
    const writes = Array.from(this.#unsaved, ([key, value]): JournalWrite => ({ key, value }));
    const consumed = this.#consumed.splice(0);
    const device = this.#replica.deviceId();
    try {
      this.#version = await this.#tab.journal.commit({ term: this.#term, device, writes, consumed });
    } catch (thrown) {
      this.#consumed.unshift(...consumed);
      const error = asSyncError(thrown, "storage_failed");
      if (error.code === "not_owner") {
        this.#isEnded = true;
        edits.putBack(waiting);
        return this.#tab.fenced();
      }
      settle(waiting, error);
      edits.putBack(waiting);
      if (this.#failures === 0) this.#tab.emitter.emit("error", error);
      const ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      this.#cancelRetry = this.#tab.browser.after(ms, () => {
        this.#cancelRetry = undefined;
        this.#done();
      });
      return;
    }
    this.#failures = 0;
    this.#unsaved.clear();
    for (const no of this.#batches.splice(0)) this.#replica.written(no);
    settle(waiting);
    const names = writes.length <= NAMES_MAX ? writes.map(({ key }) => key) : undefined;
    this.#tab.tabs.post({ type: "changed", version: this.#version, names });
  }
}
