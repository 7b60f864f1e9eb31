import type { Edit } from "./edits.js";
import { SyncError } from "./errors.js";
import type { JournalRecord, JournalWrite } from "./types.js";

/** The layout below. A database of a later one is left alone, and another is used. */
const SCHEMA = 1;

/** The replica's records by key; opaque. */
const JOURNAL = "journal";
/** Edits of tabs that follow, by number, until the owner has taken them over. */
const INBOX = "inbox";
/** The record CONTROL, the name of the database that took this one's place (SUCCESSOR), and notes. */
const CONTROL = "control";
const SUCCESSOR = "successor";

interface Control {
  /** Which owner may write: each one counts it up. */
  term: number;
  /** Counts the transactions on the journal. */
  version: number;
  device: string;
}

/** The journal at one point in time. */
export interface Contents {
  version: number;
  device: string;
  records: JournalRecord[];
  inbox: InboxEntry[];
}

export interface InboxEntry {
  id: number;
  edit: Edit;
}

/** One transaction of the owner. */
export interface Commit {
  term: number;
  device: string;
  writes: JournalWrite[];
  /** Inbox entries whose edits are in the writes. */
  consumed: number[];
}

/**
 * The replica's records in IndexedDB. A write is done when it is on the disk (`durability: "strict"`). What fails is a
 * SyncError: `storage_full`, `storage_failed`, `newer_version` (another tab has a newer schema), `not_owner`.
 */
export class Journal {
  readonly #factory: IDBFactory;
  #name: string;
  #database: IDBDatabase | undefined;
  #isSuperseded = false;

  private constructor(factory: IDBFactory, name: string) {
    this.#factory = factory;
    this.#name = name;
  }

  /** Opens the journal of this name; `kept` is the database of a later schema, in whose place another one is used. */
  static async open(factory: IDBFactory, name: string): Promise<{ journal: Journal; kept: string | undefined }> {
    const database = await openDatabase(factory, name);
    const journal = new Journal(factory, database === undefined ? `${name} (schema ${SCHEMA})` : name);
    if (database !== undefined) journal.#use(database);
    await journal.version();
    return { journal, kept: database === undefined ? name : undefined };
  }

  /** The database's name, where the records are now. */
  get name(): string {
    return this.#name;
  }

  /** Becomes the owner: ends the right of earlier ones to write. `device` names the device where it has no name yet. */
  claim(device: string): Promise<Contents & { term: number }> {
    return this.#run("readwrite", async (stores) => {
      const control = (await readControl(stores)) ?? { term: 0, version: 0, device };
      control.term += 1;
      stores.objectStore(CONTROL).put(control, CONTROL);
      return { ...(await readAll(stores, control)), term: control.term };
    });
  }

  /** Reads without owning; undefined before there was an owner. */
  read(): Promise<Contents | undefined> {
    return this.#run("readonly", async (stores) => {
      const control = await readControl(stores);
      return control && readAll(stores, control);
    });
  }

  /** Reads the records of these names, those that are there, and the whole inbox. */
  readSome(names: string[]): Promise<Omit<Contents, "device">> {
    return this.#run("readonly", async (stores) => {
      const journal = stores.objectStore(JOURNAL);
      const [control, inbox, values] = await Promise.all([
        readControl(stores),
        readInbox(stores, 0),
        Promise.all(names.map((name) => done<Uint8Array | undefined>(journal.get(name)))),
      ]);
      const records = values.flatMap((value, index) => (value === undefined ? [] : [{ key: names[index] as string, value }]));
      return { version: control?.version ?? 0, records, inbox };
    });
  }

  /** The number of the latest transaction. */
  async version(): Promise<number> {
    const control = await this.#run("readonly", readControl);
    return control?.version ?? 0;
  }

  /** Writes as the owner of this term, all or nothing; the number of the transaction. */
  commit({ term, device, writes, consumed }: Commit): Promise<number> {
    return this.#run("readwrite", async (stores) => {
      const control = await readControl(stores);
      if (control?.term !== term) throw new SyncError("not_owner", "another tab has taken over");
      const version = control.version + 1;
      stores.objectStore(CONTROL).put({ term, version, device } satisfies Control, CONTROL);
      const journal = stores.objectStore(JOURNAL);
      for (const { key, value } of writes) value === null ? journal.delete(key) : journal.put(value, key);
      for (const id of consumed) stores.objectStore(INBOX).delete(id);
      return version;
    });
  }

  /** Leaves edits for the owner; their numbers. */
  post(edits: Edit[]): Promise<number[]> {
    return this.#run("readwrite", (stores) => {
      const inbox = stores.objectStore(INBOX);
      return Promise.all(edits.map((edit) => done(inbox.add(edit) as IDBRequest<number>)));
    });
  }

  /** The edits left after the one with this number. */
  inbox(after: number): Promise<InboxEntry[]> {
    return this.#run("readonly", (stores) => readInbox(stores, after));
  }

  /** A record of its own beside the journal. */
  note(name: string): Promise<unknown> {
    return this.#run("readonly", (stores) => get(stores, `note ${name}`));
  }

  /** Writes such a record; undefined deletes it. */
  setNote(name: string, value: unknown): Promise<void> {
    return this.#run("readwrite", (stores) => {
      const control = stores.objectStore(CONTROL);
      value === undefined ? control.delete(`note ${name}`) : control.put(value, `note ${name}`);
    });
  }

  /**
   * Leaves the records where they are, under that database's name, for ever; begins anew in another database, which every
   * tab then uses. Edits in the inbox go along. `id` is nobody else's: of two tabs that do this at once, the database of
   * the first is used, and nobody writes into another's. Answers with the name of what was kept.
   */
  async setAside(id: string): Promise<string> {
    const kept = this.#name;
    const name = `${kept} + ${id}`;
    const next = new Journal(this.#factory, name);
    for (let inbox = await this.inbox(0), isDone = false; !isDone && this.#name === kept; ) {
      await next.#replaceInbox(inbox);
      isDone = await this.#run("readwrite", async (stores) => {
        // Another tab was first: this is its database.
        if (this.#name !== kept) return false;
        const last = inbox.at(-1)?.id ?? 0;
        inbox = await readInbox(stores, 0);
        const isComplete = (inbox.at(-1)?.id ?? 0) === last;
        if (isComplete) stores.objectStore(CONTROL).put(name, SUCCESSOR);
        return isComplete;
      });
    }
    next.close();
    if (this.#name !== kept && this.#name !== name) this.#factory.deleteDatabase(name);
    return kept;
  }

  #replaceInbox(entries: InboxEntry[]): Promise<void> {
    return this.#run("readwrite", (stores) => {
      stores.objectStore(INBOX).clear();
      for (const { edit } of entries) stores.objectStore(INBOX).add(edit);
    });
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
  }

  #use(database: IDBDatabase): void {
    this.#database = database;
    // The browser ends connections by itself, some after the computer slept; the next transaction opens a new one.
    database.onclose = () => {
      this.#database = undefined;
    };
    database.onversionchange = ({ newVersion }) => {
      // Null: somebody deletes it.
      if (newVersion !== null) this.#isSuperseded = true;
      this.close();
    };
  }

  async #connection(): Promise<IDBDatabase> {
    if (this.#database !== undefined) return this.#database;
    const database = this.#isSuperseded ? undefined : await openDatabase(this.#factory, this.#name);
    if (database === undefined) throw new SyncError("newer_version", "a newer version of this page is open: reload");
    this.#use(database);
    return database;
  }

  /** Runs `body` in a transaction; what it answers counts when the transaction is complete. */
  async #run<Answer>(
    mode: IDBTransactionMode,
    body: (stores: IDBTransaction) => Answer | Promise<Answer>,
  ): Promise<Answer> {
    for (;;) {
      const transaction = await this.#begin(mode);
      const completed = new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(failure(transaction.error));
      });
      // Where `body` throws, what it threw is the answer, and this one is nobody's.
      completed.catch(() => undefined);
      try {
        const successor = await get(transaction, SUCCESSOR);
        const { name } = transaction.db;
        if (typeof successor === "string" && successor !== name) {
          // Unless another call has gone there already.
          if (this.#name === name) {
            this.close();
            this.#name = successor;
          }
          continue;
        }
        const answer = await body(transaction);
        await completed;
        return answer;
      } catch (error) {
        try {
          transaction.abort();
        } catch {
          // It has ended already.
        }
        throw failure(error);
      }
    }
  }

  async #begin(mode: IDBTransactionMode): Promise<IDBTransaction> {
    const database = await this.#connection();
    try {
      return database.transaction([JOURNAL, INBOX, CONTROL], mode, { durability: "strict" });
    } catch (error) {
      this.close();
      throw failure(error);
    }
  }
}

function failure(error: unknown): SyncError {
  if (error instanceof SyncError) return error;
  const { name, message } = (error ?? {}) as { name?: unknown; message?: unknown };
  if (name === "QuotaExceededError") {
    return new SyncError("storage_full", "the browser's storage for this site is full", { cause: error });
  }
  return new SyncError("storage_failed", `the browser's storage failed: ${String(message ?? name)}`, { cause: error });
}

/** Undefined where the database is of a later schema. */
function openDatabase(factory: IDBFactory, name: string): Promise<IDBDatabase | undefined> {
  return new Promise((resolve, reject) => {
    const request = factory.open(name, SCHEMA);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(JOURNAL);
      request.result.createObjectStore(INBOX, { autoIncrement: true });
      request.result.createObjectStore(CONTROL);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => (request.error?.name === "VersionError" ? resolve(undefined) : reject(failure(request.error)));
  });
}

function done<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(failure(request.error));
  });
}

function get(stores: IDBTransaction, key: string): Promise<unknown> {
  return done<unknown>(stores.objectStore(CONTROL).get(key));
}

async function readControl(stores: IDBTransaction): Promise<Control | undefined> {
  return (await get(stores, CONTROL)) as Control | undefined;
}

async function readInbox(stores: IDBTransaction, after: number): Promise<InboxEntry[]> {
  const inbox = stores.objectStore(INBOX);
  const range = IDBKeyRange.lowerBound(after, true);
  const [ids, edits] = await Promise.all([done(inbox.getAllKeys(range)), done<Edit[]>(inbox.getAll(range))]);
  return edits.map((edit, index) => ({ id: ids[index] as number, edit }));
}

async function readAll(stores: IDBTransaction, control: Control): Promise<Contents> {
  const journal = stores.objectStore(JOURNAL);
  const [keys, values, inbox] = await Promise.all([
    done(journal.getAllKeys()),
    done<Uint8Array[]>(journal.getAll()),
    readInbox(stores, 0),
  ]);
  const records = values.map((value, index) => ({ key: keys[index] as string, value }));
  return { version: control.version, device: control.device, records, inbox };
}
