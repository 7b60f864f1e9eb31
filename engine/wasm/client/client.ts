import { thisBrowser, type Browser } from "./browser.js";
import { EditQueue, settle, type Edit } from "./edits.js";
import { Emitter } from "./emitter.js";
import { Env, ENV_KEY, type Sealing } from "./env.js";
import { asSyncError, SyncError } from "./errors.js";
import { Follower } from "./follower.js";
import { Host, type Device, type Version } from "./host.js";
import { defaultIgnore } from "./ignore.js";
import { loadedEngine } from "./init.js";
import { Journal, type Contents } from "./journal.js";
import { toJson, wellFormed, type Repair } from "./json.js";
import { Lookalikes } from "./lookalikes.js";
import { newDeviceId, Owner } from "./owner.js";
import type { Ask, Seat, SyncEvents, Tab } from "./seat.js";
import { Election, Tabs, type Message, type Standing } from "./tabs.js";
import { Token } from "./token.js";
import { Transport } from "./transport.js";
import type { Conflict, Json, OpenReplica, Platform, Rejected, Replica, Resolution, Superseded } from "./types.js";
import { differences } from "./view.js";

/** What a client is opened with. */
export interface SyncOptions {
  /** The host, as `https://sync.example.com`. */
  url: string;
  /** The user's id, as it stands in the token: names the local database, and is authenticated with sealed variables. */
  user: string;
  /** Gives the user's JWT; called when it is needed, so it may well sign in anew. */
  token: () => Promise<string>;
  /** A name, where one browser profile is to be several devices. */
  device?: string;
  platform?: Platform;
  /** Paths that are not synced from here, in place of `defaultIgnore`. */
  ignore?: (path: string) => boolean;
  fetch?: typeof fetch;
}

/** The wasm, as the client uses it. */
export interface Engine {
  openReplica: OpenReplica;
  sealing: Sealing;
}

/**
 * `unsaved`: the browser's storage takes no more, and what is shown as pending is in this page's memory only. `synced`:
 * durable on the host. The others as the words say.
 */
export type Status = Standing["status"];

/** For how long another tab is given to say that it is there, where there are no locks to tell. */
const ANSWER_MS = 500;
const FILES = "files/";

/** One device of one user, kept the same as all others; works offline. */
export class SyncClient {
  readonly env: Env;
  readonly #options: SyncOptions;
  readonly #tab: Tab;
  readonly #host: Host;
  readonly #election: Election | undefined;
  readonly #ended = new AbortController();
  #seat!: Seat;
  #lookalikes!: Lookalikes;
  #wantsToOwn = false;
  /** What the seat is, while it is of use: a lost ownership is none. */
  #role: "owner" | "follower" | undefined;
  #turn: Promise<void> = Promise.resolve();
  readonly #opened: Promise<void>;
  #isOpened!: () => void;
  #isClosed = false;
  #isAnswered = false;

  private constructor(options: SyncOptions, engine: Engine, browser: Browser, name: string, journal: Journal) {
    this.#options = options;
    this.#opened = new Promise((resolve) => {
      this.#isOpened = resolve;
    });
    this.#tab = {
      browser,
      journal,
      transport: new Transport(options.url, browser),
      tabs: new Tabs(browser, name, (message) => this.#hear(message)),
      emitter: new Emitter(),
      platform: options.platform ?? "web",
      openReplica: engine.openReplica,
      token: new Token(options.token, browser),
      fenced: () => this.#lose(),
      takeOver: () => this.#takeOver(),
      superseded: (lost) => this.#superseded(lost),
    };
    this.#host = new Host(this.#tab);
    this.env = new Env(
      {
        get: (key) => this.get(key),
        set: (key, value) => this.set(key, value),
        pending: () => this.pending(),
        superseded: () => this.superseded(),
        acknowledge: (key) => this.#acknowledge(key),
      },
      options.user,
      engine.sealing,
      journal,
      (error) => this.#tab.emitter.emit("error", error),
    );
    if (browser.locks !== undefined) {
      this.#election = new Election(browser.locks, name, {
        own: () => this.#become(true),
        lose: () => this.#lose(),
      });
    }
  }

  /** Opens the device of this user in this browser; `init()` has to be done before. Needs no network. */
  static async open(options: SyncOptions, browser: Browser = thisBrowser()): Promise<SyncClient> {
    const engine = loadedEngine();
    if (browser.indexedDB === undefined) throw new SyncError("storage_failed", "this browser has no IndexedDB");
    const parts = [options.url.replace(/\/+$/, ""), options.user, options.device ?? ""];
    const name = ["nself-sync", ...parts.map(encodeURIComponent)].join("/");
    const { journal, kept } = await Journal.open(browser.indexedDB, name);
    const client = new SyncClient(options, engine, options.fetch ? { ...browser, fetch: options.fetch } : browser, name, journal);
    try {
      await client.#begin();
    } catch (error) {
      await client.close();
      throw error;
    }
    if (kept !== undefined) client.#tellKept(kept, "of a later version of this page");
    client.#isOpened();
    client.#tellUnmerged();
    return client;
  }

  get deviceId(): string {
    return this.#replica.deviceId();
  }

  get status(): Status {
    return this.#seat.standing.status;
  }

  /** Whether other tabs of this device can be open at the same time: not where the page is no secure context. */
  get isSingleTab(): boolean {
    return this.#election === undefined;
  }

  /** A scalar or a field. */
  get(key: string): Json | undefined {
    return this.#replica.get(key);
  }

  /** A document as text; undefined where there is none, or it is binary. */
  text(key: string): string | undefined {
    return this.#replica.text(key);
  }

  bytes(key: string): Uint8Array | undefined {
    return this.#replica.bytes(key);
  }

  /** The keys of what there is that begin with `prefix`. */
  keys(prefix = ""): string[] {
    return this.#replica.keys(prefix);
  }

  has(key: string): boolean {
    return this.#replica.has(key);
  }

  /** The seq of the last reply whose changes are here. */
  get seq(): number {
    return this.#replica.seq();
  }

  /** The keys that are not durable on the host yet. */
  pending(): string[] {
    return this.#replica.pending();
  }

  rejected(): Rejected[] {
    return this.#replica.rejected();
  }

  /** Writes that lost to later ones and of which no listener of `superseded` has heard yet. */
  superseded(): Superseded[] {
    return this.#replica.superseded();
  }

  conflicts(): Conflict[] {
    return this.#replica.conflicts();
  }

  /**
   * Writes a scalar or a field; null removes it. It is shown at once; the promise resolves when it is durable on this
   * device. Where the browser's storage fails, the promise rejects with `storage_full` or `storage_failed`; the edit
   * is kept in memory all the same and tried again, and the status is `unsaved` until then. So for all edits.
   */
  async set(key: string, value: unknown): Promise<void> {
    const { value: json, repairs } = toJson(value);
    this.#tellRepairs(key, repairs);
    await this.#edit({ kind: "set", key, value: json, seen: this.seq, at: this.#tab.browser.now() });
  }

  /** Writes a file or a page's content. Bytes stay as they are: line ends, byte order mark, form. */
  async write(key: string, content: string | Uint8Array): Promise<void> {
    if (key.startsWith(FILES) && (this.#options.ignore ?? defaultIgnore)(key.slice(FILES.length))) {
      throw new SyncError("ignored", `${key} is among the files that are not synced`);
    }
    const kept = typeof content === "string" ? wellFormed(content) : content.slice();
    if (typeof content === "string" && kept !== content) {
      this.#tellRepairs(key, [{ path: "", repair: "a lone surrogate became U+FFFD" }]);
    }
    await this.#edit({ kind: "write", key, base: this.bytes(key) ?? null, content: kept, at: this.#tab.browser.now() });
  }

  /** Removes a file, or a session or page with all it has. */
  async remove(key: string): Promise<void> {
    const at = this.#tab.browser.now();
    const base = this.bytes(key) ?? null;
    await this.#edit(
      key.startsWith(FILES)
        ? { kind: "write", key, base, content: null, at }
        : { kind: "remove", key, base, seen: this.seq, at },
    );
  }

  /** Takes back an edit that the host rejected: shows what the host has. */
  async revert(key: string): Promise<void> {
    await this.#edit({ kind: "revert", key, at: this.#tab.browser.now() });
  }

  /**
   * Decides a conflict; `merged` with the content. Resolves when the host has taken it; rejects with the host's code:
   * `conflict_moved` (look again: the conflict has another *theirs* now, whose hash as `theirsHash` says that it was seen; or
   * use `force`), `conflict_resolved`.
   */
  async resolve(
    id: string,
    resolution: Resolution,
    options: { content?: string | Uint8Array; theirsHash?: string | null; force?: boolean } = {},
  ): Promise<void> {
    const { content, theirsHash, force = false } = options;
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await this.#ask({ do: "resolve", conflict: id, resolution, content: bytes, theirsHash, force });
  }

  /** The user's devices. */
  devices(): Promise<Device[]> {
    return this.#host.devices();
  }

  /** Ends a device's right to sync. What it has not pushed stays on it. */
  removeDevice(id: string): Promise<void> {
    return this.#host.removeDevice(id);
  }

  /** The versions of one key, newest first. */
  history(key: string): Promise<Version[]> {
    return this.#host.history(key);
  }

  /** The bytes of a version. */
  content(hash: string): Promise<Uint8Array> {
    return this.#host.content(hash);
  }

  /** Pushes and pulls now. Resolves when everything is synced; rejects with the status as code where it cannot be. */
  async sync(): Promise<void> {
    await this.#ask({ do: "sync" });
  }

  /** The user has signed in again: goes on, under a new device id where the device was removed. */
  async signedIn(): Promise<void> {
    await this.#ask({ do: "signedIn" });
  }

  /** A switch of the caller's, for the whole device until it is opened anew; the network's own state counts besides. */
  get online(): boolean {
    return this.#seat.standing.online;
  }

  set online(online: boolean) {
    this.#seat.setOnline(online);
  }

  /**
   * Calls `listener` at every such event; the answer ends that. `superseded` comes also for what nobody has heard of yet.
   */
  on<Name extends keyof SyncEvents>(event: Name, listener: (event: SyncEvents[Name]) => void): () => void {
    const end = this.#tab.emitter.on(event, listener);
    if (event === "superseded") {
      this.#tab.browser.after(0, () => {
        if (this.#isClosed) return;
        for (const lost of this.superseded()) if (lost.key !== ENV_KEY) this.#superseded(lost);
      });
    }
    return end;
  }

  /** Writes what is left and ends; another tab may take over. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ended.abort();
    this.#tab.token.end();
    await this.#turn;
    if (this.#seat !== undefined) {
      await this.#seat.quiet();
      settle(this.#seat.leave(), closed());
    }
    this.#election?.leave();
    this.#tab.tabs.close();
    this.#tab.journal.close();
  }

  get #replica(): Replica {
    this.#assertOpen();
    return this.#seat.replica;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw closed();
  }

  async #begin(): Promise<void> {
    const { browser } = this.#tab;
    // Refused or not: asking is all that can be done.
    browser.persist().catch(() => undefined);
    if (this.#election === undefined) await this.#assertAlone();
    this.#wantsToOwn = this.#election === undefined || (await this.#election.tryNow());
    if (!this.#wantsToOwn) this.#election?.queue();
    const seated = this.#wantsToOwn ? this.#own() : this.#follow();
    this.#turn = seated.catch(() => undefined);
    await seated;
    await this.#turn;
    const end = browser.onSignal((signal) => {
      if (signal === "leaving") this.#seat.flush();
      else this.#seat.wake();
    });
    this.#ended.signal.addEventListener("abort", end);
    this.on("change", ({ keys }) => this.#tellLookalikes(keys));
  }

  /** Without locks: whether another tab answers. */
  async #assertAlone(): Promise<void> {
    const { browser, tabs } = this.#tab;
    tabs.post({ type: "ping" });
    await new Promise<void>((resolve) => void browser.after(ANSWER_MS, resolve));
    if (this.#isAnswered) {
      throw new SyncError(
        "open_elsewhere",
        "this device is open in another tab, and without a secure context (https) only one can be",
      );
    }
  }

  #hear(message: Message): void {
    if (message.type === "alive") this.#isAnswered = true;
    if (!this.#isClosed) this.#seat?.hear(message);
  }

  /** Changes the role, one change after the other; only the last one wanted is done. */
  #become(owner: boolean): void {
    this.#wantsToOwn = owner;
    const isDue = (): boolean =>
      this.#wantsToOwn === owner && this.#role !== (owner ? "owner" : "follower") && !this.#isClosed;
    this.#turn = this.#turn.then(async () => {
      for (let failures = 0; isDue(); failures += 1) {
        try {
          await (owner ? this.#own() : this.#follow());
          break;
        } catch (error) {
          // The edits wait in the seat that was left; nothing works until the storage does.
          if (failures === 0) this.#tab.emitter.emit("error", asSyncError(error, "storage_failed"));
          await new Promise<void>((resolve) => void this.#tab.browser.after(Math.min(30_000, 1_000 * 2 ** failures), resolve));
        }
      }
    });
  }

  /** Another tab owns the replica, or the journal is another: what this one wrote next would not be kept. */
  #lose(): void {
    this.#election?.leave();
    this.#role = undefined;
    this.#become(false);
    if (!this.#isClosed) this.#election?.queue();
  }

  #takeOver(): void {
    if (this.#election === undefined) this.#become(true);
    else this.#election.steal();
  }

  async #own(): Promise<void> {
    const before: Seat | undefined = this.#seat;
    const { journal, openReplica, platform } = this.#tab;
    await before?.quiet();
    const id = newDeviceId(this.#tab);
    let claim = await journal.claim(id);
    let replica: Replica;
    try {
      replica = openReplica(claim.device, platform, claim.records);
    } catch (error) {
      const kept = await journal.setAside(id);
      this.#tellKept(kept, asSyncError(error, "corrupt_journal").message);
      // Under a new name: what the old one had pushed is not known any more.
      claim = await journal.claim(id);
      replica = openReplica(claim.device, platform, claim.records);
    }
    this.#sit(new Owner(this.#tab, replica, claim, before?.standing.online ?? true), claim);
  }

  async #follow(): Promise<void> {
    const before: Seat | undefined = this.#seat;
    await before?.quiet();
    const isWanted = (): boolean => !this.#wantsToOwn && !this.#isClosed;
    const follower = await Follower.open(this.#tab, before?.standing.online ?? true, isWanted);
    if (follower !== undefined) this.#sit(follower, undefined);
  }

  /** Takes the new seat, with the edits that the old one has shown and not written. */
  #sit(seat: Owner | Follower, claim: Contents | undefined): void {
    const before: Seat | undefined = this.#seat;
    this.#seat = seat;
    this.#role = seat instanceof Owner ? "owner" : "follower";
    this.#lookalikes = new Lookalikes(seat.replica);
    const edits = before?.leave() ?? [];
    if (before !== undefined && claim?.version === 0) {
      // Somebody cleared the site's data: what was not synced is in this page's memory only.
      edits.unshift(...carried(before.replica, this.#tab.browser.now()));
    }
    seat.start(edits);
    if (before === undefined) return;
    const keys = differences(before.replica, seat.replica);
    before.replica.free();
    if (keys.length > 0) this.#tab.emitter.emit("change", { keys });
  }

  async #edit(edit: Edit): Promise<void> {
    this.#assertOpen();
    let durable: Promise<void>;
    try {
      durable = this.#seat.edit(edit);
    } catch (error) {
      throw asSyncError(error, "invalid_edit");
    }
    this.#tellLookalikes([edit.key]);
    await durable;
  }

  /** Told to whoever listens, and where somebody did, it is done with; a sealed box waits until it is merged. */
  #superseded(lost: Superseded): void {
    const isHeard = this.#tab.emitter.emit("superseded", lost);
    if (lost.key === ENV_KEY) this.env.lost();
    else if (isHeard) void this.#acknowledge(lost.key).catch(() => undefined);
  }

  async #acknowledge(key: string): Promise<void> {
    await this.#edit({ kind: "acknowledge", key, at: this.#tab.browser.now() });
  }

  /** Asks the owner, and where the ownership changes meanwhile, the next one. */
  async #ask(ask: Ask): Promise<void> {
    for (;;) {
      this.#assertOpen();
      try {
        return await this.#seat.ask(ask);
      } catch (error) {
        if (!(error instanceof SyncError) || error.code !== "owner_changed") throw error;
        await this.#turn;
      }
    }
  }

  #tellLookalikes(keys: string[]): void {
    for (const found of this.#lookalikes.update(this.#seat.replica, keys)) this.#tab.emitter.emit("lookalike", found);
  }

  #tellRepairs(key: string, repairs: Repair[]): void {
    if (repairs.length > 0) this.#tab.emitter.emit("repaired", { key, repairs });
  }

  #tellUnmerged(): void {
    this.#tab.browser.after(0, () => {
      if (!this.#isClosed && this.superseded().some(({ key }) => key === ENV_KEY)) this.env.lost();
    });
  }

  #tellKept(name: string, why: string): void {
    const error = new SyncError("kept_aside", `the local data was set aside and begun anew (${why}); it is in the database ${name}`);
    // Whoever opens the client listens only after it is open.
    void this.#opened.then(() => this.#tab.browser.after(0, () => this.#tab.emitter.emit("error", error)));
  }
}

function closed(): SyncError {
  return new SyncError("closed", "this client is closed");
}

/** All that a replica has and the host does not, as edits whose base is not known. */
function carried(replica: Replica, at: number): ReturnType<EditQueue["drain"]> {
  const keys = new Set([...replica.pending(), ...replica.rejected().map(({ key }) => key)]);
  return [...keys].flatMap((key) => {
    const [content, value] = [replica.bytes(key), replica.get(key)];
    // Of a removal there is nothing left to carry.
    if (content === undefined && value === undefined) return [];
    const edit: Edit =
      content === undefined
        ? { kind: "set", key, value: value ?? null, seen: 0, at }
        : { kind: "write", key, base: null, content, at };
    return { edit, promises: [] };
  });
}
