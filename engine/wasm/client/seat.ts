import type { Browser } from "./browser.js";
import type { Edit, Waiting } from "./edits.js";
import type { Emitter } from "./emitter.js";
import type { SyncError } from "./errors.js";
import type { Journal } from "./journal.js";
import type { Repair } from "./json.js";
import type { Message, Standing, Tabs } from "./tabs.js";
import type { Token } from "./token.js";
import type { Transport } from "./transport.js";
import type { Activity, Conflict, OpenReplica, Platform, Rejected, Replica, Resolution, Superseded } from "./types.js";

/** What listeners hear, by the name of the event. */
export interface SyncEvents {
  /** What the user sees under these keys is another, and not by an edit of this tab. */
  change: { keys: string[] };
  /** All open conflicts, as they are now. */
  conflict: { conflicts: Conflict[] };
  status: { status: Standing["status"]; pending: number; rejected: number };
  /** The host does not take an edit: it stays, is shown, and goes out again when it is edited. */
  rejected: Rejected;
  /** A scalar's write lost to a later one. */
  superseded: Superseded;
  activity: Activity;
  /** A value was changed so that it can be stored. */
  repaired: { key: string; repairs: Repair[] };
  /** A file whose name differs from others' only in case or Unicode form: one file on many disks. */
  lookalike: { key: string; others: string[] };
  /** What went wrong without a call that could say so. */
  error: SyncError;
}

/** What a tab has, whatever its role. */
export interface Tab {
  browser: Browser;
  journal: Journal;
  transport: Transport;
  tabs: Tabs;
  emitter: Emitter<SyncEvents>;
  platform: Platform;
  openReplica: OpenReplica;
  /** The user's JWT. */
  token: Token;
  /** The journal has another owner. */
  fenced: () => void;
  /** The owner does not answer. */
  takeOver: () => void;
  /** A write lost to a later one. */
  superseded: (lost: Superseded) => void;
}

/** What only the owner can do. */
export type Ask =
  | { do: "sync" }
  | {
      do: "resolve";
      conflict: string;
      resolution: Resolution;
      content: Uint8Array | undefined;
      theirsHash: string | null | undefined;
      force: boolean;
    }
  | { do: "signedIn" };

/** A tab's role: it owns the replica, or follows the one that does. */
export interface Seat {
  /** What the user sees. */
  readonly replica: Replica;
  readonly standing: Standing;
  /** Shows the edit at once; resolves when it is durable on this device. */
  edit(edit: Edit): Promise<void>;
  ask(ask: Ask): Promise<void>;
  setOnline(online: boolean): void;
  /** The surroundings changed: the network came or went, the page is seen again. */
  wake(): void;
  /** The page may end now. */
  flush(): void;
  hear(message: Message): void;
  /** Writes what can be written, then nothing any more. */
  quiet(): Promise<void>;
  /** Ends; the edits that are shown but not durable. */
  leave(): Waiting[];
}
