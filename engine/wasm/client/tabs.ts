import type { Browser, Channel } from "./browser.js";
import type { Ask } from "./seat.js";
import type { ReplicaEvent, ReplicaStatus } from "./types.js";

/** What the tabs of one device say to each other. Any of it may be lost: the journal and the inbox are the truth. */
export type Message =
  /** The owner: this transaction on these records is written. Without names (many) the tabs read the whole journal. */
  | { type: "changed"; version: number; names: string[] | undefined }
  /** A tab that follows: there is something in the inbox. */
  | { type: "inbox" }
  /** A tab that follows asks for the owner; the answer says how things stand. */
  | { type: "ping" }
  | { type: "alive"; version: number; standing: Standing }
  /** What the owner's replica reported and the journal does not say. */
  | { type: "event"; event: ReplicaEvent }
  /** A tab that follows wants something of the owner; the answer, without an error: it is done. */
  | { type: "ask"; id: string; ask: Ask }
  | { type: "answer"; id: string; error: { code: string; message: string } | undefined }
  | { type: "online"; online: boolean };

/** How the device stands with its host, as the owner knows it. */
export interface Standing {
  status: ReplicaStatus | "unsaved";
  pending: number;
  /** How many keys the host does not take as they are. */
  rejected: number;
  online: boolean;
}

export function isSameStanding(one: Standing, other: Standing): boolean {
  const { status, pending, rejected, online } = one;
  return status === other.status && pending === other.pending && rejected === other.rejected && online === other.online;
}

/** How often a tab that follows asks for the owner, and how many of these stay unanswered before a visible one takes over. */
export const PING_MS = 3_000;
export const PINGS_MISSED_MAX = 3;

/** What the election tells. */
export interface Elected {
  /** This tab is the owner now. */
  own(): void;
  /** It is no longer: another tab took over. */
  lose(): void;
}

/** Decides which tab owns the replica: who holds the Web Lock of the device. */
export class Election {
  readonly #locks: Pick<LockManager, "request">;
  readonly #name: string;
  readonly #elected: Elected;
  #queued: AbortController | undefined;
  #release: (() => void) | undefined;

  constructor(locks: Pick<LockManager, "request">, name: string, elected: Elected) {
    this.#locks = locks;
    this.#name = name;
    this.#elected = elected;
  }

  /** Takes the lock if it is free; whether it was. */
  tryNow(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const held = (lock: Lock | null): Promise<void> | undefined => {
        resolve(lock !== null);
        return lock === null ? undefined : this.#hold();
      };
      this.#locks.request(this.#name, { ifAvailable: true }, held).catch((error: unknown) => {
        this.#lost();
        reject(error);
      });
    });
  }

  /** Waits in line for the lock. */
  queue(): void {
    const queued = new AbortController();
    this.#queued = queued;
    const held = (): Promise<void> => {
      this.#elected.own();
      return this.#hold();
    };
    this.#locks.request(this.#name, { signal: queued.signal }, held).catch(() => {
      if (!queued.signal.aborted) this.#lost();
    });
  }

  /** Takes the lock from a tab that is frozen. */
  steal(): void {
    this.leave();
    const held = (): Promise<void> => {
      this.#elected.own();
      return this.#hold();
    };
    this.#locks.request(this.#name, { steal: true }, held).catch(() => this.#lost());
  }

  /** Gives the lock, or the place in the line, back. */
  leave(): void {
    this.#queued?.abort();
    this.#queued = undefined;
    this.#release?.();
    this.#release = undefined;
  }

  #hold(): Promise<void> {
    this.#queued = undefined;
    return new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  #lost(): void {
    if (this.#release === undefined) return;
    this.#release = undefined;
    this.#elected.lose();
  }
}

/** The tabs' channel, typed. */
export class Tabs {
  readonly #channel: Channel;

  constructor(browser: Browser, name: string, hear: (message: Message) => void) {
    this.#channel = browser.channel(name, (message) => hear(message as Message));
  }

  post(message: Message): void {
    this.#channel.post(message);
  }

  close(): void {
    this.#channel.close();
  }
}
