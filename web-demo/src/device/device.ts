import { SyncClient, type Activity, type Conflict, type Json, type Rejected, type Status, type Variables } from "@nself/sync";
import type { Config } from "../config";
import { plural } from "../format";
import { ENV, isFile, newId, pathOf, FILES, PAGES } from "../keys";
import type { UserToken } from "../token";

export type Side = "left" | "right";
export interface Changed {
  keys: readonly string[];
  from: "here" | "elsewhere";
}
/** Something that went wrong or was lost by the rules, kept for the Problems list. */
export interface Problem {
  id: string;
  key: string;
  title: string;
  detail: string;
  at: number;
  /** The server does not take the edit; it can be taken back. */
  isRejected: boolean;
}
export interface Toast {
  id: string;
  text: string;
  kind: "note" | "bad";
  action?: { label: string; run: () => void };
}

type Topic = "changed" | "status" | "conflicts" | "activity" | "problems" | "toasts";
const ACTIVITY_MAX = 500;

/** One device: its SyncClient, and what this page remembers of it while it is open. */
export class Device {
  readonly activity: Activity[] = [];
  problems: Problem[] = [];
  toasts: Toast[] = [];
  #unkept = 0;
  #files: Set<string> | null = null;
  #paths: readonly string[] | null = null;
  #pending: ReadonlySet<string> | null = null;
  #listeners = new Map<Topic, Set<(changed: Changed) => void>>();

  private constructor(readonly client: SyncClient, readonly side: Side) {
    client.on("change", (event) => this.#tell("changed", { keys: event.keys, from: "elsewhere" }));
    client.on("status", () => {
      this.#tell("status");
      this.#dropSettled();
    });
    client.on("conflict", () => this.#tell("conflicts"));
    client.on("activity", (event) => {
      this.activity.push(event);
      if (this.activity.length > ACTIVITY_MAX) this.activity.shift();
      this.#tell("activity");
    });
    for (const rejected of client.rejected()) this.#rejected(rejected);
    client.on("rejected", (rejected) => {
      this.#rejected(rejected);
      this.toast(`${nameOf(rejected.key)} was not taken: ${rejected.detail}`, "bad");
    });
    client.on("superseded", ({ key, theirs }) =>
      this.#problem(key, "A later write elsewhere won", `It is now ${JSON.stringify(theirs)}. Yours is in the versions.`));
    client.on("repaired", ({ key, repairs }) =>
      this.#problem(key, "Changed so that it can be stored", plural(repairs.length, "place")));
    client.on("lookalike", ({ key, others }) =>
      this.#problem(key, "Differs only in case or Unicode form", `From ${others.map(nameOf).join(", ")}: one file on many disks.`));
    client.on("error", (error) => {
      if (error.code === "device_revoked") this.toast("This device was removed.", "bad", { label: "Register it anew", run: () => this.signedIn() });
      else this.#problem("", error.code.replaceAll("_", " "), error.message);
    });
  }

  static async open(config: Config, token: UserToken, side: Side): Promise<Device> {
    const client = await SyncClient.open({ url: config.url, user: config.user, token: token.get, device: side, platform: "web" });
    const device = new Device(client, side);
    token.onChange(() => device.signedIn());
    return device;
  }

  /** The server's counter as far as this device has it. */
  get seq(): number {
    return this.client.seq;
  }

  get status(): Status {
    return this.client.status;
  }

  /** Whether every edit is on this device's disk: it takes a few milliseconds. */
  get isKept(): boolean {
    return this.#unkept === 0;
  }

  conflicts(): Conflict[] {
    return this.client.conflicts();
  }

  /** The files' paths; the same list as long as there are the same files. */
  paths(): readonly string[] {
    this.#files ??= new Set(this.client.keys(FILES));
    this.#paths ??= [...this.#files].map(pathOf);
    return this.#paths;
  }

  /** What the server does not have yet. */
  pending(): ReadonlySet<string> {
    this.#pending ??= new Set(this.client.pending());
    return this.#pending;
  }

  /** How many edits the server does not take. */
  get rejectedCount(): number {
    return this.problems.filter(({ isRejected }) => isRejected).length;
  }

  isEmpty(): boolean {
    return this.paths().length === 0 && this.client.keys(PAGES).length === 0;
  }

  /** A scalar as text: "" where it is not there or is none. */
  word(key: string): string {
    const value = this.client.get(key);
    return typeof value === "string" ? value : "";
  }

  /** `from` "elsewhere": not typed, so an editor that shows the document has to take it over. */
  write(key: string, content: string | Uint8Array, from: Changed["from"] = "here"): void {
    this.#edit(key, () => this.client.write(key, content), from);
  }

  set(key: string, value: Json): void {
    this.#edit(key, () => this.client.set(key, value));
  }

  remove(key: string): void {
    this.#edit(key, () => this.client.remove(key));
  }

  /** Takes back an edit that the server does not take: what it has instead is shown. */
  revert(key: string): void {
    this.#edit(key, () => this.client.revert(key), "elsewhere");
  }

  /** Seals the variables; resolves when the box is on this device's disk. */
  async saveVariables(variables: Variables, passphrase: string): Promise<void> {
    await this.client.env.save(variables, { passphrase });
    this.#tell("changed", { keys: [ENV], from: "here" });
  }

  /** A new path for a file: everything it holds, byte for byte. `moved` is called while there are both. */
  rename(from: string, to: string, moved: () => void): void {
    const content = this.client.bytes(from);
    if (!content || from === to) return;
    if (this.client.has(to)) return void this.toast(`There is ${nameOf(to)} already.`, "bad");
    this.write(to, content);
    if (!this.client.has(to)) return;
    moved();
    this.remove(from);
  }

  on(topic: Topic, listener: (changed: Changed) => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  toast(text: string, kind: Toast["kind"] = "note", action?: Toast["action"]): string {
    const toast: Toast = { id: newId(), text, kind, ...(action ? { action } : {}) };
    this.toasts = [...this.toasts.slice(-2), toast];
    this.#tell("toasts");
    setTimeout(() => this.dismiss(toast.id), kind === "bad" || action ? 10_000 : 5_000);
    return toast.id;
  }

  dismiss(id: string): void {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
    this.#tell("toasts");
  }

  dismissProblem(id: string): void {
    this.problems = this.problems.filter((problem) => problem.id !== id);
    this.#tell("problems");
  }

  setOnline(online: boolean): void {
    this.client.online = online;
    this.#tell("status");
  }

  async sync(): Promise<void> {
    await this.client.sync().catch((error: unknown) => this.toast(messageOf(error), "bad"));
  }

  /** The user's token can be had (again): a removed device registers anew, with all its edits. */
  signedIn(): void {
    void this.client
      .signedIn()
      .catch((error: unknown) => this.toast(messageOf(error), "bad"))
      .finally(() => this.#tell("status"));
  }

  #edit(key: string, edit: () => Promise<void>, from: Changed["from"] = "here"): void {
    // The client has taken the edit when the call returns; the promise tells when it is on this device's disk.
    this.#unkept += 1;
    void (async () => edit())()
      .catch((error: unknown) => this.toast(`${nameOf(key)}: ${messageOf(error)}`, "bad"))
      .finally(() => (this.#unkept -= 1));
    this.#tell("changed", { keys: [key], from });
    this.#tell("status");
    this.#dropSettled();
  }

  #rejected({ key, code, detail }: Rejected): void {
    this.#problem(key, `Not taken: ${code.replaceAll("_", " ")}`, detail, true);
  }

  /** What was rejected and is not any more is no problem. */
  #dropSettled(): void {
    if (!this.problems.some(({ isRejected }) => isRejected)) return;
    const rejected = new Set(this.client.rejected().map(({ key }) => key));
    this.problems = this.problems.filter(({ isRejected, key }) => !isRejected || rejected.has(key));
    this.#tell("problems");
  }

  #problem(key: string, title: string, detail: string, isRejected = false): void {
    const others = this.problems.filter((problem) => problem.key !== key || problem.title !== title);
    this.problems = [...others.slice(-99), { id: newId(), key, title, detail, at: Date.now(), isRejected }];
    this.#tell("problems");
  }

  #tell(topic: Topic, changed: Changed = { keys: [], from: "here" }): void {
    // A keystroke comes by here: only what can be another is asked for again.
    if (topic === "status" || topic === "changed") this.#pending = null;
    if (changed.keys.some((key) => isFile(key) && this.#files?.has(key) !== this.client.has(key))) this.#files = this.#paths = null;
    for (const listener of this.#listeners.get(topic) ?? []) listener(changed);
  }
}

export function nameOf(key: string): string {
  return isFile(key) ? pathOf(key) : key;
}

/** A device's id as people can tell it from others: its platform and the id's first digits. */
export function shortDevice(id: string): string {
  return /^\w+-[0-9a-f]{8}(?=-)/.exec(id)?.[0] ?? id;
}

/** What a program goes by; the client's errors have one. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
