import { apply, applyOnto, EditQueue, settle, type Edit, type Waiting } from "./edits.js";
import { asSyncError, SyncError } from "./errors.js";
import type { Contents, InboxEntry } from "./journal.js";
import { isConflictsRecord, keyOfRecord } from "./records.js";
import { emitReported } from "./reported.js";
import type { Ask, Seat, Tab } from "./seat.js";
import { PING_MS, PINGS_MISSED_MAX, type Message, type Standing } from "./tabs.js";
import type { JournalWrite, Replica } from "./types.js";
import { differences, View } from "./view.js";

const RETRY_MS = 3_000;
/** How often an empty journal is looked at. */
const READ_MS = 50;
/** How long the owner may take for what it is asked. */
const ASK_MS_MAX = 60_000;

/**
 * A tab that follows: shows the owner's journal and, on top, its own edits, which wait in the inbox until the owner has
 * taken them over.
 */
export class Follower implements Seat {
  readonly #tab: Tab;
  #replica: Replica;
  #version: number;
  #standing: Standing;
  /** In the inbox, and not in the journal yet. */
  #posted: InboxEntry[];
  #posting: Waiting[] = [];
  readonly #edits = new EditQueue();
  /** One transaction at a time. */
  #turn: Promise<void> = Promise.resolve();
  #isFailing = false;
  #cancelRetry: (() => void) | undefined;
  #isQuiet = false;
  #isEnded = false;
  #pingsMissed = 0;
  #cancelPing: () => void = () => undefined;
  /** The latest transaction that was told of while the journal was read. */
  #heard = 0;
  #isReading = false;
  #told = "";
  readonly #asked = new Map<string, (error: SyncError | undefined) => void>();

  private constructor(tab: Tab, replica: Replica, contents: Contents, online: boolean) {
    this.#tab = tab;
    this.#replica = replica;
    this.#version = contents.version;
    this.#posted = contents.inbox;
    this.#standing = { status: "syncing", pending: replica.pendingCount(), online };
  }

  /** Reads the journal; waits for an owner where nothing is in it yet. Undefined: this tab is to own it instead. */
  static async open(tab: Tab, online: boolean, isWanted: () => boolean): Promise<Follower | undefined> {
    for (let waited = 0; isWanted(); waited += READ_MS) {
      const contents = await tab.journal.read();
      if (contents !== undefined) return new Follower(tab, show(tab, contents), contents, online);
      if (waited === PING_MS) tab.takeOver();
      await new Promise<void>((resolve) => void tab.browser.after(READ_MS, resolve));
    }
    return undefined;
  }

  /** Begins, with edits that this tab has shown already. */
  start(edits: Waiting[]): void {
    for (const { edit } of edits) this.#takeIn(edit);
    this.#edits.putBack(edits);
    this.#post();
    this.#ping();
  }

  get replica(): Replica {
    return this.#replica;
  }

  get standing(): Standing {
    const { status, pending, online } = this.#standing;
    const own = this.#posted.length + this.#posting.length + this.#edits.edits.length;
    if (this.#isFailing) return { status: "unsaved", pending: Math.max(pending, own), online };
    return own > 0 && status === "synced" ? { status: "pending", pending: own, online } : this.#standing;
  }

  edit(edit: Edit): Promise<void> {
    apply(this.#replica, edit);
    this.#drop();
    const durable = this.#edits.add(edit);
    this.#post();
    this.#tellStanding(this.#standing);
    return durable;
  }

  ask(ask: Ask): Promise<void> {
    const id = this.#tab.browser.randomId();
    return new Promise<void>((resolve, reject) => {
      const silent = new SyncError("owner_silent", "the tab that keeps this device in sync did not answer");
      const cancel = this.#tab.browser.after(ASK_MS_MAX, () => this.#answered(id, silent));
      this.#asked.set(id, (error) => {
        cancel();
        error === undefined ? resolve() : reject(error);
      });
      this.#tab.tabs.post({ type: "ask", id, ask });
    });
  }

  setOnline(online: boolean): void {
    this.#tellStanding({ ...this.#standing, online });
    this.#tab.tabs.post({ type: "online", online });
  }

  wake(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#post();
    this.#ping();
  }

  flush(): void {
    this.#post();
  }

  hear(message: Message): void {
    switch (message.type) {
      case "changed":
        return this.#changed(message);
      case "alive":
        this.#pingsMissed = 0;
        if (message.version !== this.#version) this.#reread();
        return this.#tellStanding({ status: message.status, pending: message.pending, online: message.online });
      case "event":
        return emitReported(this.#tab, message.event);
      case "answer": {
        const { error } = message;
        return this.#answered(message.id, error && new SyncError(error.code, error.message));
      }
      case "online":
        return this.#tellStanding({ ...this.#standing, online: message.online });
      case "inbox":
      case "ping":
      case "ask":
        return;
    }
  }

  async quiet(): Promise<void> {
    this.#isQuiet = true;
    await this.#turn;
  }

  leave(): Waiting[] {
    this.#isQuiet = true;
    this.#isEnded = true;
    this.#cancelPing();
    this.#cancelRetry?.();
    for (const id of [...this.#asked.keys()]) {
      this.#answered(id, new SyncError("owner_changed", "another tab took over before this was done"));
    }
    return this.#edits.drain();
  }

  /** Leaves the edits that wait in the inbox, all that came together in one transaction. */
  #post(): void {
    this.#inTurn(async () => {
      if (this.#edits.isEmpty || this.#cancelRetry !== undefined) return;
      this.#posting = this.#edits.drain();
      try {
        const edits = this.#posting.map(({ edit }) => edit);
        const ids = await this.#tab.journal.post(edits);
        this.#posted.push(...ids.map((id, index) => ({ id, edit: edits[index] as Edit })));
        settle(this.#posting);
        this.#tab.tabs.post({ type: "inbox" });
        this.#failing(false);
      } catch (thrown) {
        const error = asSyncError(thrown, "storage_failed");
        settle(this.#posting, error);
        this.#edits.putBack(this.#posting);
        if (!this.#isFailing) this.#tab.emitter.emit("error", error);
        this.#failing(true);
        this.#cancelRetry = this.#tab.browser.after(RETRY_MS, () => {
          this.#cancelRetry = undefined;
          this.#post();
        });
      } finally {
        this.#posting = [];
      }
    });
  }

  #changed({ version, writes, consumed }: Message & { type: "changed" }): void {
    this.#heard = version;
    if (version <= this.#version || this.#isReading) return;
    const isConfirmed = writes !== undefined && this.#areIn(consumed, writes);
    if (version !== this.#version + 1 || !isConfirmed) return this.#reread();
    const keys = writes.flatMap(({ key }) => keyOfRecord(key) ?? []);
    const before = new View(this.#replica, keys);
    try {
      this.#replica.refresh(
        writes.flatMap(({ key, value }) => (value === null ? [] : [{ key, value }])),
        writes.flatMap(({ key, value }) => (value === null ? [key] : [])),
      );
    } catch (error) {
      this.#tab.emitter.emit("error", asSyncError(error, "internal"));
      return this.#reread();
    }
    this.#version = version;
    this.#edits.seal();
    this.#posted = this.#posted.filter(({ id }) => !consumed.includes(id));
    // What the journal says of these keys is without the edits that the owner does not have yet.
    for (const edit of this.#outstanding()) if (keys.includes(edit.key)) this.#takeIn(edit);
    this.#drop();
    const changed = before.changedIn(this.#replica);
    if (changed.length > 0) this.#tab.emitter.emit("change", { keys: changed });
    if (writes.some(({ key }) => isConflictsRecord(key))) {
      this.#tab.emitter.emit("conflict", { conflicts: this.#replica.conflicts() });
    }
    this.#tellStanding(this.#standing);
  }

  /** Whether what became of these inbox entries is among the writes, or they are other tabs'. */
  #areIn(consumed: number[], writes: JournalWrite[]): boolean {
    const own = this.#posted.filter(({ id }) => consumed.includes(id));
    const keys = new Set(writes.map(({ key }) => keyOfRecord(key)));
    return own.every(({ edit }) => keys.has(edit.key));
  }

  /** Reads the journal anew: a message was lost, or did not say all. */
  #reread(): void {
    this.#inTurn(async () => {
      let contents: Contents | undefined;
      let replica: Replica;
      this.#isReading = true;
      try {
        contents = await this.#tab.journal.read();
        if (contents === undefined || contents.version === this.#version || this.#isEnded) return;
        replica = show(this.#tab, contents);
      } catch (error) {
        this.#tab.emitter.emit("error", asSyncError(error, "storage_failed"));
        return;
      } finally {
        this.#isReading = false;
      }
      const before = this.#replica;
      this.#replica = replica;
      this.#version = contents.version;
      this.#edits.seal();
      this.#posted = contents.inbox;
      for (const edit of this.#edits.edits) this.#takeIn(edit);
      this.#drop();
      const changed = differences(before, replica);
      const conflicts = replica.conflicts();
      const hadConflicts = before.conflicts().length > 0;
      before.free();
      if (changed.length > 0) this.#tab.emitter.emit("change", { keys: changed });
      if (hadConflicts || conflicts.length > 0) this.#tab.emitter.emit("conflict", { conflicts });
      this.#tellStanding(this.#standing);
      if (this.#heard > this.#version) this.#reread();
    });
  }

  #outstanding(): Edit[] {
    const posting = this.#posting.map(({ edit }) => edit);
    return [...this.#posted.map(({ edit }) => edit), ...posting, ...this.#edits.edits];
  }

  #takeIn(edit: Edit): void {
    try {
      applyOnto(this.#replica, edit);
    } catch (error) {
      this.#tab.emitter.emit("error", asSyncError(error, "internal"));
    }
  }

  #inTurn(run: () => Promise<void>): void {
    this.#turn = this.#turn.then(() => (this.#isQuiet ? undefined : run()));
  }

  /** What this replica wants written or told is the owner's affair. */
  #drop(): void {
    dropWrites(this.#replica);
  }

  /** Asks for the owner while somebody looks at this tab, and takes over where it does not answer. */
  #ping(): void {
    this.#cancelPing();
    if (this.#isEnded) return;
    if (!this.#tab.browser.isVisible()) {
      this.#pingsMissed = 0;
    } else if (this.#pingsMissed >= PINGS_MISSED_MAX) {
      this.#pingsMissed = 0;
      this.#tab.takeOver();
    } else {
      this.#pingsMissed += 1;
      this.#tab.tabs.post({ type: "ping" });
    }
    this.#cancelPing = this.#tab.browser.after(PING_MS, () => this.#ping());
  }

  #answered(id: string, error: SyncError | undefined): void {
    this.#asked.get(id)?.(error);
    this.#asked.delete(id);
  }

  #failing(isFailing: boolean): void {
    this.#isFailing = isFailing;
    this.#tellStanding(this.#standing);
  }

  #tellStanding(standing: Standing): void {
    this.#standing = standing;
    const { status, pending } = this.standing;
    const told = `${status} ${pending}`;
    if (told === this.#told) return;
    this.#told = told;
    this.#tab.emitter.emit("status", { status, pending });
  }
}

/** A replica of the journal with the inbox on top. */
function show(tab: Tab, contents: Contents): Replica {
  const replica = tab.openReplica(contents.device, tab.platform, contents.records);
  for (const { edit } of contents.inbox) {
    try {
      applyOnto(replica, edit);
    } catch {
      // The owner tells what it cannot take over.
    }
  }
  dropWrites(replica);
  return replica;
}

function dropWrites(replica: Replica): void {
  while (replica.takeWrites() !== undefined);
  while (replica.pollEvent() !== undefined);
}
