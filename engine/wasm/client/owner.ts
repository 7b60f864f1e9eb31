import { Clock } from "./clock.js";
import { apply, applyOnto, EditQueue, type Edit, type Waiting } from "./edits.js";
import { asSyncError, SyncError } from "./errors.js";
import type { InboxEntry } from "./journal.js";
import { Live } from "./live.js";
import { emitReported } from "./reported.js";
import { Saver } from "./saver.js";
import type { Ask, Seat, Tab } from "./seat.js";
import { isSameStanding, type Message, type Standing } from "./tabs.js";
import type { Answer } from "./transport.js";
import type { Replica, ReplicaEvent, Request } from "./types.js";
import { View } from "./view.js";

/** How often the inbox is looked into, whether or not a tab said so. */
const INBOX_MS = 5_000;
/** The longest timer: a computer that slept is noticed so late. */
const TIMER_MS_MAX = 60_000;
/** Where the replica is due but waits for something else. */
const TIMER_MS_IDLE = 1_000;
/** The wait before the user's token is asked for again, where nothing demands it. */
const SIGN_IN_MS_MIN = 5_000;
const SIGN_IN_MS_MAX = 10 * 60_000;

/** What the host would say. */
const NO_TOKEN: Answer = { status: 401, body: new TextEncoder().encode("{}"), retryAfterMs: undefined };

/** The tab that owns the replica: drives it, writes its journal, speaks to the host. */
export class Owner implements Seat {
  readonly replica: Replica;
  readonly #tab: Tab;
  readonly #clock: Clock;
  readonly #saver: Saver;
  readonly #live: Live;
  readonly #edits = new EditQueue();
  #inboxRead = 0;
  #isReadingInbox = false;
  #isInboxWanted = false;
  #isWanted: boolean;
  #isEnded = false;
  #inFlight = 0;
  #cancelTimer: () => void = () => undefined;
  #cancelInbox: () => void = () => undefined;
  #cancelSignIn: (() => void) | undefined;
  #signIns = 0;
  /** The token is asked for, or in the next moment. */
  #isSigningIn = false;
  #isRevoked = false;
  #syncs: Waiter[] = [];
  /** Where it stood when `#syncs` were looked at last: as long as that changes, it goes on. */
  #syncedTo = "";
  readonly #resolving = new Map<string, Waiter[]>();
  #told: Standing | undefined;

  constructor(tab: Tab, replica: Replica, claim: { term: number; version: number; inbox: InboxEntry[] }, online: boolean) {
    this.#tab = tab;
    this.replica = replica;
    this.#isWanted = online;
    this.#clock = new Clock(tab.browser);
    this.#saver = new Saver(tab, replica, claim, () => this.#pump());
    this.#live = new Live(tab.browser, (what) => {
      if (what === "hint") this.replica.wake(this.#clock.now());
      else this.replica.setLive(what === "up", this.#clock.now());
      this.#pump();
    });
    this.#takeOver(claim.inbox);
  }

  /** Begins. Edits that this tab has shown already go first. */
  start(edits: Waiting[]): void {
    for (const { edit } of edits) this.#takeIn(edit);
    this.#edits.putBack(edits);
    this.replica.setOnline(this.#isOnline, this.#clock.now());
    this.#lookIntoInbox();
    this.#pump();
  }

  get standing(): Standing {
    const { replica } = this;
    return {
      status: this.#saver.isFailing ? "unsaved" : replica.status(),
      pending: replica.pendingCount(),
      rejected: replica.rejected().length,
      online: this.#isWanted,
    };
  }

  edit(edit: Edit): Promise<void> {
    apply(this.replica, edit);
    const durable = this.#edits.add(edit);
    this.#pump();
    return durable;
  }

  ask(ask: Ask): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      const now = this.#clock.now();
      switch (ask.do) {
        case "sync":
          this.#demandSignIn();
          this.#saver.retryNow();
          this.#syncs.push(waiter);
          // Messages may be lost; what another tab was told is kept belongs to what is synced.
          this.#readInbox();
          this.replica.flush(now);
          this.replica.wake(now);
          break;
        case "signedIn":
          this.#signIns = 0;
          this.#tab.token.renew();
          if (this.#isRevoked) {
            this.#isRevoked = false;
            this.replica.renew(newDeviceId(this.#tab), now);
          }
          this.replica.signedIn(now);
          resolve();
          break;
        case "resolve":
          this.#resolving.set(ask.conflict, [...(this.#resolving.get(ask.conflict) ?? []), waiter]);
          try {
            this.replica.resolve(ask.conflict, ask.resolution, ask.content, ask.theirsHash, ask.force);
          } catch (error) {
            this.#resolved(ask.conflict, asSyncError(error, "invalid_resolution"));
          }
          break;
      }
      this.#pump();
    });
  }

  setOnline(online: boolean): void {
    this.#isWanted = online;
    this.#networkChanged();
  }

  wake(): void {
    this.#saver.retryNow();
    this.#demandSignIn();
    this.#live.retryNow();
    this.replica.wake(this.#clock.now());
    this.#networkChanged();
  }

  flush(): void {
    this.replica.flush(this.#clock.now());
    this.#pump();
  }

  hear(message: Message): void {
    switch (message.type) {
      case "ping":
        this.#tellOthers();
        break;
      case "inbox":
        this.#readInbox();
        break;
      case "online":
        this.setOnline(message.online);
        break;
      case "ask": {
        const { id } = message;
        this.ask(message.ask).then(
          () => this.#tab.tabs.post({ type: "answer", id, error: undefined }),
          ({ code, message: text }: SyncError) =>
            this.#tab.tabs.post({ type: "answer", id, error: { code, message: text } }),
        );
        break;
      }
      case "changed":
      case "alive":
      case "event":
      case "answer":
        break;
    }
    // A hidden tab's timers run once a minute; the messages of a visible tab keep its owner going.
    this.#pump();
  }

  async quiet(): Promise<void> {
    await this.#saver.end(this.#edits);
    this.#isEnded = true;
  }

  leave(): Waiting[] {
    this.#isEnded = true;
    this.#cancelTimer();
    this.#cancelInbox();
    this.#cancelSignIn?.();
    this.#live.connect(undefined);
    const closed = new SyncError("owner_changed", "another tab took over before this was done");
    for (const waiter of [...this.#syncs, ...[...this.#resolving.values()].flat()]) waiter.reject(closed);
    return this.#edits.drain();
  }

  get #isOnline(): boolean {
    return this.#isWanted && this.#tab.browser.isOnline();
  }

  /** Goes on with whatever is next. Called after everything that may have changed something; cheap where nothing did. */
  #pump(): void {
    if (this.#isEnded) return;
    const now = this.#clock.now();
    for (let request; (request = this.replica.pollRequest(now)) !== undefined; ) void this.#send(request);
    this.#saver.save(this.#edits);
    for (let event; (event = this.replica.pollEvent()) !== undefined; ) this.#report(event);
    this.#tellStanding();
    this.#settleSyncs();
    this.#setTimer(now);
  }

  #setTimer(now: number): void {
    this.#cancelTimer();
    const due = this.replica.pollTimeout();
    if (due === undefined) return;
    const ms = due > now ? Math.min(due - now, TIMER_MS_MAX) : TIMER_MS_IDLE;
    this.#cancelTimer = this.#tab.browser.after(ms, () => this.#pump());
  }

  async #send(request: Request): Promise<void> {
    this.#inFlight += 1;
    const { browser, transport } = this.#tab;
    try {
      const token = request.auth === "device" && request.token !== null ? request.token : await this.#userToken();
      const answer =
        token === undefined
          ? NO_TOKEN
          : await transport.send({ ...request, token, expectsJson: request.kind !== "content" });
      if (this.#isEnded) return;
      if (answer.status < 400) this.#signIns = 0;
      if (request.auth === "device" && token !== undefined) this.#listen(token);
      this.replica.handleReply(
        request.id, answer.status, answer.body, answer.retryAfterMs, this.#clock.now(), browser.random(),
      );
      // The reply brought the device's own token, which the live connection waits for: the next request shows it.
      if (request.auth === "user" && answer.status < 400) this.replica.wake(this.#clock.now());
    } catch (error) {
      if (this.#isEnded) return;
      this.replica.handleFailure(request.id, this.#clock.now(), browser.random());
      const failure = asSyncError(error, "internal");
      if (failure.code !== "unreachable") this.#tab.emitter.emit("error", failure);
    } finally {
      this.#inFlight -= 1;
      this.#pump();
    }
  }

  /** Undefined where the user has to sign in. */
  async #userToken(): Promise<string | undefined> {
    try {
      return await this.#tab.token.get();
    } catch (error) {
      if (error instanceof SyncError && error.code === "token_silent") throw error;
      return undefined;
    }
  }

  #listen(token: string): void {
    const url = this.#tab.transport.live(this.replica.deviceId());
    this.#live.connect(this.#isOnline ? { url, token } : undefined);
  }

  #networkChanged(): void {
    if (!this.#isOnline) this.#live.connect(undefined);
    this.replica.setOnline(this.#isOnline, this.#clock.now());
    this.#pump();
  }

  #report(event: ReplicaEvent): void {
    const { emitter, tabs, browser } = this.#tab;
    switch (event.type) {
      case "change":
        this.#edits.seal();
        return void emitter.emit("change", { keys: event.keys });
      case "conflicts":
        return void emitter.emit("conflict", { conflicts: event.conflicts });
      case "rejected":
      case "superseded":
      case "activity":
        emitReported(this.#tab, event);
        return tabs.post({ type: "event", event });
      case "resolved":
        return this.#resolved(
          event.id,
          event.code === null ? undefined : new SyncError(event.code, "the host did not take the resolution"),
        );
      case "identity":
        if (event.reason === "forked") return this.replica.renew(newDeviceId(this.#tab), this.#clock.now());
        this.#isRevoked = true;
        return void emitter.emit(
          "error",
          new SyncError("device_revoked", "this device was removed: signedIn() registers it anew, with all its edits"),
        );
      case "sign_in": {
        const ms = this.#signIns === 0 ? 0 : Math.min(SIGN_IN_MS_MAX, SIGN_IN_MS_MIN * 2 ** Math.min(this.#signIns, 10));
        this.#signIns += 1;
        this.#isSigningIn = ms === 0;
        this.#cancelSignIn?.();
        this.#cancelSignIn = browser.after(ms, () => void this.#signIn());
        return;
      }
      case "status":
        return;
    }
  }

  /** Asks for the user's token; where it is to be had, goes on. */
  async #signIn(): Promise<void> {
    this.#cancelSignIn = undefined;
    this.#isSigningIn = true;
    const token = await this.#userToken().catch((error: unknown) => {
      this.#tab.emitter.emit("error", asSyncError(error, "internal"));
      return undefined;
    });
    if (this.#isEnded) return;
    this.#isSigningIn = false;
    if (token === undefined) this.#report({ type: "sign_in" });
    else this.replica.signedIn(this.#clock.now());
    this.#pump();
  }

  /** Somebody wants it now: does not wait any longer. */
  #demandSignIn(): void {
    if (this.#cancelSignIn === undefined) return;
    this.#cancelSignIn();
    void this.#signIn();
  }

  #resolved(conflict: string, error: SyncError | undefined): void {
    const waiters = this.#resolving.get(conflict) ?? [];
    this.#resolving.delete(conflict);
    for (const { resolve, reject } of waiters) error === undefined ? resolve() : reject(error);
  }

  #settleSyncs(): void {
    if (this.#syncs.length === 0 || this.#isReadingInbox || this.#inFlight > 0) return;
    if (this.#saver.isSaving || this.#isSigningIn) return;
    const { status, pending } = this.standing;
    const stand = `${this.replica.seq()} ${pending}`;
    if (status === "pending" && stand !== this.#syncedTo) {
      this.#syncedTo = stand;
      this.replica.flush(this.#clock.now());
      return this.#pump();
    }
    const rejected = this.replica.rejected().map(({ key }) => key);
    if (status !== "synced") {
      this.#endSyncs(new SyncError(status, `not everything is synced: the device is ${status}, ${pending} keys wait`));
    } else if (rejected.length > 0) {
      this.#endSyncs(new SyncError("rejected", `the host does not take ${rejected.join(", ")}`));
    } else {
      this.#endSyncs(undefined);
    }
  }

  #endSyncs(error: SyncError | undefined): void {
    const waiters = this.#syncs;
    this.#syncs = [];
    this.#syncedTo = "";
    for (const { resolve, reject } of waiters) error === undefined ? resolve() : reject(error);
  }

  #tellStanding(): void {
    const { standing } = this;
    const told = this.#told;
    if (told !== undefined && isSameStanding(told, standing)) return;
    this.#told = standing;
    const { status, pending, rejected } = standing;
    this.#tab.emitter.emit("status", { status, pending, rejected });
    this.#tellOthers();
  }

  #tellOthers(): void {
    this.#tab.tabs.post({ type: "alive", version: this.#saver.version, standing: this.standing });
  }

  #lookIntoInbox(): void {
    this.#cancelInbox = this.#tab.browser.after(INBOX_MS, () => {
      this.#readInbox();
      this.#lookIntoInbox();
    });
  }

  #readInbox(): void {
    if (this.#isEnded) return;
    this.#isInboxWanted = this.#isReadingInbox;
    if (this.#isReadingInbox) return;
    this.#isReadingInbox = true;
    this.#tab.journal.inbox(this.#inboxRead).then(
      (entries) => {
        this.#isReadingInbox = false;
        if (this.#isEnded) return;
        const keys = [...new Set(entries.map(({ edit }) => edit.key))];
        const before = new View(this.replica, keys);
        this.#takeOver(entries);
        // What was asked for while this was read may not be in it.
        if (this.#isInboxWanted || entries.length > 0) this.#readInbox();
        const changed = before.changedIn(this.replica);
        if (changed.length > 0) this.#tab.emitter.emit("change", { keys: changed });
        this.#pump();
      },
      (error: unknown) => {
        this.#isReadingInbox = false; // the timer comes again
        this.#endSyncs(asSyncError(error, "storage_failed"));
      },
    );
  }

  /** Other tabs' edits; they leave the inbox in the transaction that writes what became of them. */
  #takeOver(entries: InboxEntry[]): void {
    for (const { id, edit } of entries) {
      this.#inboxRead = Math.max(this.#inboxRead, id);
      if (this.#takeIn(edit)) this.#saver.consume(id);
    }
  }

  /** What cannot be taken in stays where it is, and is told. */
  #takeIn(edit: Edit): boolean {
    try {
      this.#edits.seal();
      applyOnto(this.replica, { ...edit, at: Math.min(edit.at, this.#tab.browser.now()) });
      return true;
    } catch (error) {
      this.#tab.emitter.emit("error", asSyncError(error, "internal"));
      return false;
    }
  }
}

/** A name for this device that no other has. */
export function newDeviceId(tab: Pick<Tab, "browser" | "platform">): string {
  return `${tab.platform}-${tab.browser.randomId()}`;
}

interface Waiter {
  resolve: () => void;
  reject: (error: SyncError) => void;
}
