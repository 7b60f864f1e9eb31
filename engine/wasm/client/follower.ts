import { apply, applyOnto, EditQueue, settle, type Edit, type Waiting } from "./edits.js";
import { asSyncError, SyncError } from "./errors.js";
import type { Contents, InboxEntry } from "./journal.js";
import { isConflictsRecord, keyOfRecord } from "./records.js";
import { emitReported } from "./reported.js";
import type { Ask, Seat, Tab } from "./seat.js";
import { isSameStanding, PING_MS, PINGS_MISSED_MAX, type Message, type Standing } from "./tabs.js";
import type { Replica } from "./types.js";
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
  /** Up to which transaction it is known what changed, and the records that did since `#version`, with the last that did it. */
  #heard: number;
  readonly #stale = new Map<string, number>();
  #isToReread = false;
  #told: Standing | undefined;
  readonly #asked = new Map<string, (error: SyncError | undefined) => void>();

  private constructor(tab: Tab, replica: Replica, contents: Contents, online: boolean) {
    this.#tab = tab;
    this.#replica = replica;
    this.#version = contents.version;
    this.#heard = contents.version;
    this.#posted = contents.inbox;
    const [pending, rejected] = [replica.pendingCount(), replica.rejected().length];
    this.#standing = { status: "syncing", pending, rejected, online };
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
    const { status, pending } = this.#standing;
    const own = this.#posted.length + this.#posting.length + this.#edits.edits.length;
    if (this.#isFailing) return { ...this.#standing, status: "unsaved", pending: Math.max(pending, own) };
    return own > 0 && status === "synced" ? { ...this.#standing, status: "pending", pending: own } : this.#standing;
  }

  edit(edit: Edit): Promise<void> {
    apply(this.#replica, edit);
    this.#drop();
    const durable = this.#edits.add(edit);
    this.#post();
    this.#tellStanding(this.#standing);
    return durable;
  }

  async ask(ask: Ask): Promise<void> {
    if (ask.do === "sync") await this.#assertPosted();
    if (ask.do === "signedIn") this.#tab.token.renew();
    const id = this.#tab.browser.randomId();
    await new Promise<void>((resolve, reject) => {
      if (this.#isEnded) return reject(ownerChanged());
      const silent = new SyncError("owner_silent", "the tab that keeps this device in sync did not answer");
      const cancel = this.#tab.browser.after(ASK_MS_MAX, () => this.#answered(id, silent));
      this.#asked.set(id, (error) => {
        cancel();
        error === undefined ? resolve() : reject(error);
      });
      this.#tab.tabs.post({ type: "ask", id, ask });
    });
    // What the owner did is told before the answer, and read after it.
    await this.#turn;
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
        if (message.version !== this.#heard) this.#reread();
        return this.#tellStanding(message.standing);
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
      this.#answered(id, ownerChanged());
    }
    return this.#edits.drain();
  }

  /** The owner can only sync what it can find. */
  async #assertPosted(): Promise<void> {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#post();
    await this.#turn;
    if (this.#isFailing) throw new SyncError("unsaved", "not everything is synced: edits are in this page's memory only");
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

  #changed({ version, names }: Message & { type: "changed" }): void {
    if (version <= this.#heard) return;
    // One was lost, or it does not say all.
    if (names === undefined || version !== this.#heard + 1) return this.#reread();
    this.#heard = version;
    for (const name of names) this.#stale.set(name, version);
    this.#inTurn(() => this.#readStale());
  }

  /** Reads what is told to have changed. Also the inbox: what left it is in the journal, and shown from there. */
  async #readStale(): Promise<void> {
    const heard = this.#heard;
    if (heard <= this.#version || this.#isEnded) return;
    const names = [...this.#stale.keys()];
    let contents: Omit<Contents, "device">;
    try {
      contents = await this.#tab.journal.readSome(names);
    } catch (error) {
      this.#tab.emitter.emit("error", asSyncError(error, "storage_failed"));
      return this.#reread();
    }
    // There was a later transaction already: the message about it, which may have come meanwhile, brings the rest.
    if (contents.version !== heard || this.#isEnded) return;
    const { version, records, inbox } = contents;
    const keys = new Set(names.flatMap((name) => keyOfRecord(name) ?? []));
    const [before, after] = [this.#posted, inbox].map((entries) => new Set(entries.map(({ id }) => id))) as [Ids, Ids];
    if (this.#posted.some(({ id, edit }) => !after.has(id) && !keys.has(edit.key))) return this.#reread();
    // What the journal says of these keys is without the edits that the owner does not have yet.
    const again = [
      ...inbox.filter(({ id, edit }) => keys.has(edit.key) || !before.has(id)),
      ...this.#edits.edits.flatMap((edit) => (keys.has(edit.key) ? { edit } : [])),
    ].map(({ edit }) => edit);
    const view = new View(this.#replica, new Set([...keys, ...again.map(({ key }) => key)]));
    const found = new Set(records.map(({ key }) => key));
    try {
      this.#replica.refresh(records, names.filter((name) => !found.has(name)));
    } catch (error) {
      this.#tab.emitter.emit("error", asSyncError(error, "internal"));
      return this.#reread();
    }
    this.#isShown(version);
    this.#posted = inbox;
    this.#edits.seal();
    for (const edit of again) this.#takeIn(edit);
    this.#drop();
    const changed = view.changedIn(this.#replica);
    if (changed.length > 0) this.#tab.emitter.emit("change", { keys: changed });
    if (names.some(isConflictsRecord)) this.#tab.emitter.emit("conflict", { conflicts: this.#replica.conflicts() });
    this.#tellStanding(this.#standing);
  }

  /** Reads the whole journal. */
  #reread(): void {
    if (this.#isToReread) return;
    this.#isToReread = true;
    this.#inTurn(async () => {
      this.#isToReread = false;
      let contents: Contents | undefined;
      let replica: Replica;
      const heard = this.#heard;
      try {
        contents = await this.#tab.journal.read();
        if (contents === undefined || this.#isEnded) return;
        // A journal that begins anew counts anew.
        if (contents.version < heard) this.#stale.clear();
        this.#heard = contents.version < heard ? contents.version : Math.max(this.#heard, contents.version);
        if (contents.version === this.#version) return;
        replica = show(this.#tab, contents);
      } catch (error) {
        this.#tab.emitter.emit("error", asSyncError(error, "storage_failed"));
        return;
      }
      const before = this.#replica;
      this.#replica = replica;
      this.#isShown(contents.version);
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
    });
  }

  /** The replica shows the journal as it was after this transaction. Messages about later ones may have come already. */
  #isShown(version: number): void {
    this.#version = version;
    for (const [name, changed] of this.#stale) if (changed <= version) this.#stale.delete(name);
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

  /** Asks how the device stands; takes over where the owner does not answer and somebody looks at this tab. */
  #ping(): void {
    this.#cancelPing();
    if (this.#isEnded) return;
    const isVisible = this.#tab.browser.isVisible();
    if (isVisible && this.#pingsMissed >= PINGS_MISSED_MAX) {
      this.#pingsMissed = 0;
      this.#tab.takeOver();
    } else {
      this.#pingsMissed = isVisible ? this.#pingsMissed + 1 : 0;
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
    const own = this.standing;
    if (this.#told !== undefined && isSameStanding(this.#told, own)) return;
    this.#told = own;
    const { status, pending, rejected } = own;
    this.#tab.emitter.emit("status", { status, pending, rejected });
  }
}

type Ids = Set<number>;

function ownerChanged(): SyncError {
  return new SyncError("owner_changed", "another tab took over before this was done");
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
