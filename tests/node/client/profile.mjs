// A browser profile: what its tabs share (databases, locks, channels), and each tab's own surroundings, which a test may
// freeze, hide, take offline, fill up or give a wrong clock.
import * as fake from "../../../engine/wasm/node_modules/fake-indexeddb/build/esm/index.js";

globalThis.IDBKeyRange = fake.IDBKeyRange;

export class Profile {
  indexedDB = new fake.IDBFactory();
  locks = new Locks();
  channels = new Set();
  /** Whether the disk is. */
  isFull = false;

  constructor({ hasLocks = true } = {}) {
    if (!hasLocks) this.locks = undefined;
  }

  tab(options = {}) {
    return new Tab(this, options);
  }

  /** The records of a store, as they are on the disk. */
  async read(name, store) {
    const database = await answer(this.indexedDB.open(name));
    try {
      const records = database.transaction(store).objectStore(store);
      const [keys, values] = await Promise.all([answer(records.getAllKeys()), answer(records.getAll())]);
      return new Map(keys.map((key, at) => [key, values[at]]));
    } finally {
      database.close();
    }
  }

  async write(name, store, key, value) {
    const database = await answer(this.indexedDB.open(name));
    await answer(database.transaction(store, "readwrite").objectStore(store).put(value, key));
    database.close();
  }

  async names() {
    return (await this.indexedDB.databases()).map(({ name }) => name);
  }
}

export const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** What `SyncClient.open` takes as the browser. */
export class Tab {
  clockError = 0;
  isOnlineNow = true;
  isSeen = true;
  isFrozen = false;
  isGone = false;
  losesMessages = false;
  /** For how long what was read is under way, in which messages overtake it. */
  readsLateMs = 0;
  WebSocket = undefined;
  fetch = (input, init) => fetch(input, init);
  #profile;
  #signals = new Set();
  #held = [];
  #timers = new Set();
  #locks = new Set();

  constructor(profile, options) {
    this.#profile = profile;
    Object.assign(this, options);
    const factory = profile.indexedDB;
    const troubled = (database) => {
      const { transaction } = database;
      database.transaction = (...args) => {
        const begun = transaction.apply(database, args);
        const { objectStore } = begun;
        if (this.readsLateMs > 0 && begun.mode === "readonly") {
          const late = (complete) => begun.addEventListener("complete", () => setTimeout(complete, this.readsLateMs));
          Object.defineProperty(begun, "oncomplete", { set: late });
        }
        begun.objectStore = (name) => {
          const store = objectStore.call(begun, name);
          for (const write of ["put", "add"]) {
            store[write] = (...args) => {
              const request = Object.getPrototypeOf(store)[write].apply(store, args);
              // A full disk shows late: the write was taken, the transaction fails.
              if (profile.isFull) request.addEventListener("success", () => begun._abort("QuotaExceededError"));
              return request;
            };
          }
          return store;
        };
        return begun;
      };
    };
    this.indexedDB = {
      open: (...args) => {
        const request = factory.open(...args);
        request.addEventListener("success", () => troubled(request.result));
        return request;
      },
      deleteDatabase: (name) => factory.deleteDatabase(name),
    };
    this.locks = profile.locks && {
      request: (name, options, held) => {
        const granted = (lock) =>
          new Promise((resolve, reject) => {
            if (this.isGone) return resolve();
            this.#locks.add(resolve);
            this.#whenAwake(() => Promise.resolve(held(lock)).then(resolve, reject));
          });
        const refused = (error) => new Promise((_, reject) => this.#whenAwake(() => reject(error)));
        return profile.locks.request(name, options, granted).catch(refused);
      },
    };
  }

  persist = async () => undefined;
  now = () => Date.now() + this.clockError;
  ticks = () => performance.now();
  random = () => Math.random();
  randomId = () => crypto.randomUUID();
  isOnline = () => this.isOnlineNow;
  isVisible = () => this.isSeen;

  after = (ms, run) => {
    const timer = setTimeout(() => this.#whenAwake(() => this.#timers.delete(timer) && run()), ms);
    this.#timers.add(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  };

  channel = (name, hear) => {
    const end = { name, hear: (message) => this.#whenAwake(() => hear(message)) };
    this.#profile.channels.add(end);
    return {
      post: (message) => {
        if (this.losesMessages) return;
        const copy = structuredClone(message);
        for (const other of this.#profile.channels) {
          if (other !== end && other.name === name) setImmediate(() => other.hear(structuredClone(copy)));
        }
      },
      close: () => this.#profile.channels.delete(end),
    };
  };

  onSignal = (hear) => {
    this.#signals.add(hear);
    return () => this.#signals.delete(hear);
  };

  signal(signal) {
    for (const hear of this.#signals) hear(signal);
  }

  goOffline() {
    this.isOnlineNow = false;
    this.signal("offline");
  }

  goOnline() {
    this.isOnlineNow = true;
    this.signal("online");
  }

  freeze() {
    this.isFrozen = true;
  }

  thaw() {
    this.isFrozen = false;
    for (const run of this.#held.splice(0)) run();
  }

  /** The tab is gone, as after a crash: nothing of it runs any more, and its locks are free. */
  kill() {
    this.isFrozen = true;
    this.isGone = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const end of this.#locks) end();
  }

  #whenAwake(run) {
    if (this.isGone) return;
    if (this.isFrozen) this.#held.push(run);
    else run();
  }
}

/** Web Locks: one holder by name, a line, stealing. */
class Locks {
  #byName = new Map();

  request(name, { ifAvailable = false, steal = false, signal } = {}, run) {
    const lock = this.#byName.get(name) ?? { holder: undefined, line: [] };
    this.#byName.set(name, lock);
    return new Promise((resolve, reject) => {
      const grant = () => {
        const holder = { reject };
        lock.holder = holder;
        setImmediate(() =>
          Promise.resolve(run({ name })).then(resolve, reject).finally(() => lock.holder === holder && this.#next(lock)),
        );
      };
      if (steal) {
        lock.holder?.reject(new DOMException("stolen", "AbortError"));
        return grant();
      }
      if (lock.holder === undefined) return grant();
      if (ifAvailable) return void setImmediate(() => Promise.resolve(run(null)).then(resolve, reject));
      lock.line.push(grant);
      signal?.addEventListener("abort", () => {
        lock.line = lock.line.filter((other) => other !== grant);
        reject(new DOMException("aborted", "AbortError"));
      });
    });
  }

  #next(lock) {
    lock.holder = undefined;
    lock.line.shift()?.();
  }
}
