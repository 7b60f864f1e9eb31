import { asSyncError, SyncError } from "./errors.js";
import type { Journal } from "./journal.js";
import type { Json, Superseded } from "./types.js";

/** Environment variables by name. */
export type Variables = Record<string, string>;

/** What opens a box: the user's long-lived auth secret, a passphrase, or a recovery code. */
export type Secret = { auth: Uint8Array } | { passphrase: string } | { recovery: string };

/** A box while it is open; the wasm's. */
export interface OpenBox {
  variables(): Variables;
  replace(variables: Variables): void;
  kids(): string[];
  addWrap(kid: string, secret: Secret): void;
  removeWrap(kid: string): void;
  render(): Json;
  free(): void;
}

/** Makes and opens boxes; the wasm's. */
export interface Sealing {
  create(user: string, variables: Variables, kid: string, secret: Secret): OpenBox;
  open(user: string, value: Json, secret: Secret, kid?: string): OpenBox;
}

/** What Env uses of the client. */
interface Values {
  get(key: string): Json | undefined;
  set(key: string, value: Json): Promise<void>;
  pending(): string[];
  superseded(): Superseded[];
  acknowledge(key: string): Promise<void>;
}

/** What was saved here last, kept until it is known what became of it. */
interface Saved {
  /** The host's box that it was made from; null: there was none. */
  base: Json;
  mine: Json;
}

export const ENV_KEY = "env_encrypted";
const KEY = ENV_KEY;
const NOTE = "env";

/**
 * The environment variables, sealed on this device: the host stores a box that it cannot open. Two devices' boxes cannot be
 * merged by it either; the one that loses is merged here, by variable, by whichever tab knows the secret.
 */
export class Env {
  readonly #values: Values;
  readonly #user: string;
  readonly #sealing: Sealing;
  readonly #journal: Journal;
  readonly #fail: (error: SyncError) => void;
  #secret: Secret | undefined;
  #merging: Promise<Variables | undefined> = Promise.resolve(undefined);

  constructor(values: Values, user: string, sealing: Sealing, journal: Journal, fail: (error: SyncError) => void) {
    this.#fail = fail;
    this.#values = values;
    this.#user = user;
    this.#sealing = sealing;
    this.#journal = journal;
  }

  /** A box lost: merges it if the secret is known, else says so, and the next call that brings the secret does. */
  lost(): void {
    const box = this.#values.get(KEY);
    if (this.#secret !== undefined && box !== undefined) return void this.#mergeLost(box, this.#secret);
    this.#fail(new SyncError("env_unmerged", "another device's variables or secrets won: env.open() merges what was changed here"));
  }

  /** The variables; empty where there are none yet. A wrong secret is `wrong_key`, flipped bits are `damaged`. */
  async open(secret: Secret): Promise<Variables> {
    const box = this.#values.get(KEY);
    if (box === undefined) return {};
    const variables = this.#read(box, secret);
    this.#secret = secret;
    return (await this.#mergeLost(box, secret)) ?? variables;
  }

  /**
   * Seals these variables in place of what is there, which the secret has to open: nobody overwrites what they cannot read.
   * `kid` names the secret in a box that is new.
   */
  async save(variables: Variables, secret: Secret, kid = "default"): Promise<void> {
    const seen = this.#values.get(KEY);
    const merged = seen === undefined ? undefined : await this.#mergeLost(seen, secret);
    if (seen !== undefined && merged !== undefined) {
      variables = mergeVariables(this.#read(seen, secret), variables, merged);
    }
    const box = this.#values.get(KEY) ?? null;
    const mine = this.#seal(box, variables, secret, kid);
    this.#secret = secret;
    // A box that waits for the host is not what the host has: what it was made from is.
    const before = this.#values.pending().includes(KEY) ? await this.#saved() : undefined;
    await this.#set({ base: before?.base ?? box, mine });
  }

  /** Lets another secret open the box as well, under a name of its own. */
  async addSecret(secret: Secret, kid: string, added: Secret): Promise<void> {
    await this.#rewrap(secret, (open) => open.addWrap(kid, added));
  }

  /** Ends what a secret opens, from now on. */
  async removeSecret(secret: Secret, kid: string): Promise<void> {
    await this.#rewrap(secret, (open) => open.removeWrap(kid));
  }

  async #rewrap(secret: Secret, change: (open: OpenBox) => void): Promise<void> {
    const seen = this.#values.get(KEY);
    if (seen === undefined) throw new SyncError("not_a_box", "there are no variables yet");
    await this.#mergeLost(seen, secret);
    const box = this.#values.get(KEY) ?? seen;
    const mine = this.#with(this.#sealing.open(this.#user, box, secret), (open) => {
      change(open);
      return open.render();
    });
    this.#secret = secret;
    const before = this.#values.pending().includes(KEY) ? await this.#saved() : undefined;
    await this.#set({ base: before?.base ?? box, mine });
  }

  /** Merges the box that lost, if one did, into the one that won; undefined where there is nothing to merge, or it cannot be. */
  #mergeLost(theirs: Json, secret: Secret): Promise<Variables | undefined> {
    // One after the other: what the first has merged is not merged again.
    this.#merging = this.#merging.then(async () => {
      const lost = this.#values.superseded().find(({ key }) => key === KEY);
      const saved = await this.#saved();
      // Of a box that is not the one saved last it is not known what it was made from.
      if (lost === undefined || saved === undefined || !isSameBox(saved.mine, lost.mine)) return undefined;
      try {
        return await this.#merge(saved, this.#values.get(KEY) ?? theirs, secret);
      } catch (error) {
        // It stays noted, for a secret that opens it.
        this.#fail(asSyncError(error, "damaged"));
        return undefined;
      }
    });
    return this.#merging;
  }

  /** Brings what only the lost box changed into the one that won: variables, and what opens it. */
  async #merge(saved: Saved, theirs: Json, secret: Secret): Promise<Variables> {
    const [base, mine, there] = [saved.base, saved.mine, theirs].map((box) =>
      box === null ? {} : this.#read(box, secret),
    ) as [Variables, Variables, Variables];
    const merged = mergeVariables(base, mine, there);
    const { wraps, lost } = mergeWraps(wrapsOf(saved.base), wrapsOf(saved.mine), wrapsOf(theirs));
    const isSameWraps = isSame(wraps, wrapsOf(theirs));
    if (!isSame(merged, there) || !isSameWraps) {
      const sealed = isSame(merged, there) ? theirs : this.#seal(theirs, merged, secret, "default");
      const box = isSameWraps ? sealed : withWraps(sealed, wraps);
      this.#read(box, secret); // Nobody writes a box that they cannot open.
      await this.#set({ base: theirs, mine: box });
    }
    for (const kid of lost) {
      this.#fail(new SyncError("secret_not_added", `the box was made anew on another device: add the secret ${kid} again`));
    }
    await this.#values.acknowledge(KEY);
    return merged;
  }

  async #set(saved: Saved): Promise<void> {
    await this.#journal.setNote(NOTE, saved);
    await this.#values.set(KEY, saved.mine);
  }

  async #saved(): Promise<Saved | undefined> {
    return (await this.#journal.note(NOTE)) as Saved | undefined;
  }

  #read(box: Json, secret: Secret): Variables {
    return this.#with(this.#sealing.open(this.#user, box, secret), (open) => open.variables());
  }

  #seal(box: Json, variables: Variables, secret: Secret, kid: string): Json {
    if (box === null) {
      return this.#with(this.#sealing.create(this.#user, variables, kid, secret), (open) => open.render());
    }
    return this.#with(this.#sealing.open(this.#user, box, secret), (open) => {
      open.replace(variables);
      return open.render();
    });
  }

  #with<Answer>(open: OpenBox, use: (open: OpenBox) => Answer): Answer {
    try {
      return use(open);
    } finally {
      open.free();
    }
  }
}

/**
 * What both made of the base, variable by variable. Changed on both sides, mine is taken, as the later; a removal gives way to
 * a change.
 */
export function mergeVariables(base: Variables, mine: Variables, theirs: Variables): Variables {
  const names = new Set([...Object.keys(base), ...Object.keys(mine), ...Object.keys(theirs)]);
  const merged = [...names].map((name): [string, string | undefined] => {
    const [was, here, there] = [base, mine, theirs].map((side) =>
      Object.hasOwn(side, name) ? side[name] : undefined,
    );
    if (here === was) return [name, there];
    return [name, here ?? (there === was ? undefined : there)];
  });
  return Object.fromEntries(merged.filter((one): one is [string, string] => one[1] !== undefined));
}

/** What opens a box, by its kid, as text. */
type Wraps = Record<string, string>;

/**
 * What opens the merged box: a secret that was removed here does not open it, unless another one took its place there. One
 * that was added here goes along where both boxes have the same data key, which a wrap that they share tells; else its kid
 * is among the lost.
 */
function mergeWraps(base: Wraps, mine: Wraps, theirs: Wraps): { wraps: Wraps; lost: string[] } {
  const isOneKey = Object.values(mine).some((wrap) => Object.values(theirs).includes(wrap));
  const wraps = { ...theirs };
  const lost = [];
  for (const kid of new Set([...Object.keys(base), ...Object.keys(mine)])) {
    const [was, here, there] = [base[kid], mine[kid], theirs[kid]];
    if (here === was || here === there) continue;
    if (here === undefined) {
      if (there === was) delete wraps[kid];
    } else if (isOneKey) {
      wraps[kid] = here;
    } else {
      lost.push(kid);
    }
  }
  return { wraps, lost };
}

function wrapsOf(box: Json): Wraps {
  const wraps = typeof box === "object" && !Array.isArray(box) ? box?.wraps : undefined;
  if (!Array.isArray(wraps)) return {};
  const named = wraps.map((wrap) => wrap as Record<string, Json>);
  return Object.fromEntries(named.map((wrap) => [String(wrap.kid), canonical(wrap)]));
}

function withWraps(box: Json, wraps: Wraps): Json {
  return { ...(box as Record<string, Json>), wraps: Object.values(wraps).map((wrap) => JSON.parse(wrap) as Json) };
}

/** A wrap's fields are flat; their order differs by where the box has been. */
function canonical(wrap: Record<string, Json>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(wrap).sort(([one], [other]) => (one < other ? -1 : 1))));
}

/** A box's ciphertext is never made twice, but its wraps change. */
function isSameBox(one: Json, other: Json): boolean {
  const text = (box: Json): Json | undefined => (typeof box === "object" && !Array.isArray(box) ? box?.ct : undefined);
  return text(one) !== undefined && text(one) === text(other) && isSame(wrapsOf(one), wrapsOf(other));
}

function isSame(one: Variables, other: Variables): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
