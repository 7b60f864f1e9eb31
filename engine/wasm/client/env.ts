import { asSyncError, SyncError } from "./errors.js";
import type { Journal } from "./journal.js";
import type { SyncEvents } from "./seat.js";
import type { Json } from "./types.js";

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
  on(event: "superseded", listener: (event: SyncEvents["superseded"]) => void): () => void;
}

/** What was saved here last, kept until it is known what became of it. */
interface Saved {
  /** The host's box that it was made from; null: there was none. */
  base: Json;
  mine: Json;
  /** Another device's box won; what is only in `mine` has to be merged into that. */
  isSuperseded: boolean;
}

const KEY = "env_encrypted";
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

  constructor(values: Values, user: string, sealing: Sealing, journal: Journal, fail: (error: SyncError) => void) {
    this.#fail = fail;
    this.#values = values;
    this.#user = user;
    this.#sealing = sealing;
    this.#journal = journal;
    values.on("superseded", ({ key, mine, theirs }) => {
      if (key === KEY) this.#superseded(mine, theirs).catch((error: unknown) => fail(asSyncError(error, "damaged")));
    });
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
    await this.#set({ base: before?.base ?? box, mine, isSuperseded: false });
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
    const box = this.#values.get(KEY);
    if (box === undefined) throw new SyncError("not_a_box", "there are no variables yet");
    await this.#values.set(KEY, this.#with(this.#sealing.open(this.#user, box, secret), (open) => {
      change(open);
      return open.render();
    }));
  }

  async #superseded(mine: Json, theirs: Json): Promise<void> {
    const saved = await this.#saved();
    // Of a box that is not the one saved last it is not known what it was made from.
    if (saved === undefined || !isSameBox(saved.mine, mine)) return;
    await this.#journal.setNote(NOTE, { ...saved, isSuperseded: true });
    if (this.#secret !== undefined) await this.#mergeLost(theirs, this.#secret);
  }

  /** Merges the box that lost, if one did, into the one that won; undefined where there is nothing to merge, or it cannot be. */
  async #mergeLost(theirs: Json, secret: Secret): Promise<Variables | undefined> {
    const saved = await this.#saved();
    if (!saved?.isSuperseded) return undefined;
    try {
      return await this.#merge(saved, theirs, secret);
    } catch (error) {
      // It stays noted, for a secret that opens it.
      this.#fail(asSyncError(error, "damaged"));
      return undefined;
    }
  }

  /** Brings what only the lost box changed into the one that won. */
  async #merge(saved: Saved, theirs: Json, secret: Secret): Promise<Variables> {
    const [base, mine, there] = [saved.base, saved.mine, theirs].map((box) =>
      box === null ? {} : this.#read(box, secret),
    ) as [Variables, Variables, Variables];
    const merged = mergeVariables(base, mine, there);
    if (isSame(merged, there)) {
      await this.#journal.setNote(NOTE, undefined);
    } else {
      await this.#set({ base: theirs, mine: this.#seal(theirs, merged, secret, "default"), isSuperseded: false });
    }
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

/** A box's ciphertext is never made twice. */
function isSameBox(one: Json, other: Json): boolean {
  const text = (box: Json): Json | undefined => (typeof box === "object" && !Array.isArray(box) ? box?.ct : undefined);
  return text(one) !== undefined && text(one) === text(other);
}

function isSame(one: Variables, other: Variables): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
