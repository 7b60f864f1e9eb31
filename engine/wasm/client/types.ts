/** A value of a scalar key: what JSON can carry. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** The kinds of device that a host tells apart. */
export type Platform = "web" | "desktop" | "mobile";

/** One record of the journal: an opaque value by key. */
export interface JournalRecord {
  key: string;
  value: Uint8Array;
}

/** A record to write; null deletes it. */
export interface JournalWrite {
  key: string;
  value: Uint8Array | null;
}

/** What the replica wants written in one transaction. */
export interface JournalBatch {
  no: number;
  writes: JournalWrite[];
}

/** A request that the replica wants sent. */
export interface Request {
  id: number;
  kind: "push" | "pull" | "content" | "conflicts" | "resolve" | "token";
  method: "GET" | "POST";
  path: string;
  body: string | null;
  /** Whose token: the user's JWT, or `token`, the device's own. */
  auth: "user" | "device";
  token: string | null;
}

/** How the replica stands with its host. */
export type ReplicaStatus = "pending" | "syncing" | "synced" | "offline" | "blocked" | "unauthorised" | "moved";

/** One side of a conflict; null where the document does not exist on it. */
export interface DocumentSide {
  hash: string;
  size: number;
  content?: string;
  content_base64?: string;
}

/** Two versions of a document that do not merge. */
export interface Conflict {
  id: string;
  key: string;
  base: DocumentSide | null;
  mine: DocumentSide | null;
  theirs: DocumentSide | null;
  mineDevice: string;
  theirsDevice: string;
  seq: number;
  createdAt: string;
}

/** How a conflict is decided. */
export type Resolution = "mine" | "theirs" | "merged";

/** A write that the host refused, or that is refused until it is edited again. */
export interface Rejected {
  key: string;
  code: string;
  detail: string;
}

/** A scalar's write that lost to a later one. */
export interface Superseded {
  key: string;
  mine: Json;
  theirs: Json;
}

/** The host's limits and intervals, docs/protocol.md section 8. */
export interface Policy {
  push_interval_ms: number;
  conflict_strategy: "merge" | "lww";
  conflict_block: "device" | "file";
  file_bytes_max: number;
  body_bytes_max: number;
  reply_bytes_max: number;
  keys_max: number;
  snapshot_threshold: number;
  retention_days: number;
}

/** One line of what happened, for people. */
export interface Activity {
  kind: "push" | "pull" | "snapshot" | "merge" | "conflict" | "resolve" | "failure";
  keys: string[];
  up: number;
  down: number;
  seq: number;
  at: number;
  detail: string;
}

/** What the replica reports. */
export type ReplicaEvent =
  | { type: "change"; keys: string[] }
  | { type: "conflicts"; conflicts: Conflict[] }
  | { type: "status"; status: ReplicaStatus; pending: number }
  | ({ type: "rejected" } & Rejected)
  | ({ type: "superseded" } & Superseded)
  | { type: "resolved"; id: string; code: string | null }
  | { type: "identity"; reason: "forked" | "revoked" }
  | { type: "sign_in" }
  | ({ type: "activity" } & Activity);

/** The wasm's replica: the client as a state machine, without time, randomness or IO of its own. */
export interface Replica {
  set(key: string, value: Json, now: number): void;
  write(key: string, content: string | Uint8Array, now: number): void;
  writeOnto(key: string, base: Uint8Array | null, content: Uint8Array | null, now: number): void;
  remove(key: string, now: number): void;
  setFrom(key: string, value: Json, seen: number, now: number): void;
  removeFrom(key: string, base: Uint8Array | null, seen: number, now: number): void;
  acknowledge(key: string): void;
  revert(key: string): void;

  get(key: string): Json | undefined;
  text(key: string): string | undefined;
  bytes(key: string): Uint8Array | undefined;
  keys(prefix: string): string[];
  has(key: string): boolean;
  status(): ReplicaStatus;
  pending(): string[];
  pendingCount(): number;
  conflicts(): Conflict[];
  rejected(): Rejected[];
  superseded(): Superseded[];
  deviceId(): string;
  seq(): number;
  policy(): Policy | undefined;

  takeWrites(): JournalBatch | undefined;
  written(no: number): void;
  pollRequest(now: number): Request | undefined;
  handleReply(
    id: number,
    status: number,
    body: Uint8Array,
    retryAfterMs: number | undefined,
    now: number,
    jitter: number,
  ): void;
  handleFailure(id: number, now: number, jitter: number): void;
  pollEvent(): ReplicaEvent | undefined;
  pollTimeout(): number | undefined;
  setOnline(online: boolean, now: number): void;
  setLive(live: boolean, now: number): void;
  wake(now: number): void;
  flush(now: number): void;
  signedIn(now: number): void;
  renew(deviceId: string, now: number): void;
  resolve(
    id: string,
    resolution: Resolution,
    content: Uint8Array | undefined,
    theirsHash: string | null | undefined,
    force: boolean,
  ): void;
  refresh(records: JournalRecord[], removed: string[]): void;

  free(): void;
}

/** Opens a replica on the journal's records; throws `corrupt_journal`. */
export type OpenReplica = (
  deviceId: string,
  platform: Platform,
  records: JournalRecord[],
) => Replica;
