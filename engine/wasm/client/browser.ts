/** What the page's surroundings tell. */
export type Signal = "online" | "offline" | "visible" | "leaving";

/** A BroadcastChannel, as far as it is used. */
export interface Channel {
  post(message: unknown): void;
  close(): void;
}

/** All that the client uses of the browser, so that tests can freeze a tab, fill a disk or set a clock. */
export interface Browser {
  indexedDB: IDBFactory;
  /** Absent where the page is no secure context. */
  locks: Pick<LockManager, "request"> | undefined;
  fetch: typeof fetch;
  WebSocket: typeof WebSocket | undefined;
  /** Asks that the browser does not clear the data away by itself. */
  persist(): Promise<void>;
  /** The wall clock and the monotonic clock, in milliseconds. */
  now(): number;
  ticks(): number;
  random(): number;
  randomId(): string;
  /** A timer; the answer ends it. */
  after(ms: number, run: () => void): () => void;
  channel(name: string, hear: (message: unknown) => void): Channel;
  isOnline(): boolean;
  isVisible(): boolean;
  onSignal(hear: (signal: Signal) => void): () => void;
}

/** The browser (or worker) that this runs in. */
export function thisBrowser(): Browser {
  const { navigator } = globalThis as { navigator?: Partial<Navigator> };
  return {
    indexedDB: globalThis.indexedDB,
    locks: navigator?.locks,
    fetch: (input, init) => globalThis.fetch(input, init),
    WebSocket: globalThis.WebSocket,
    async persist() {
      if (!(await navigator?.storage?.persisted?.())) await navigator?.storage?.persist?.();
    },
    now: () => Date.now(),
    ticks: () => performance.now(),
    random: () => Math.random(),
    randomId,
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    channel(name, hear) {
      const channel = new BroadcastChannel(name);
      channel.onmessage = (event: MessageEvent<unknown>) => hear(event.data);
      return { post: (message) => channel.postMessage(message), close: () => channel.close() };
    },
    isOnline: () => navigator?.onLine !== false,
    isVisible: () => !("document" in globalThis) || document.visibilityState === "visible",
    onSignal,
  };
}

/** A random UUID; `crypto.randomUUID` is not there where the page is no secure context. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function onSignal(hear: (signal: Signal) => void): () => void {
  const ended = new AbortController();
  const listen = (target: EventTarget, event: string, listener: () => void): void =>
    target.addEventListener(event, listener, { signal: ended.signal });
  listen(globalThis, "online", () => hear("online"));
  listen(globalThis, "offline", () => hear("offline"));
  listen(globalThis, "pagehide", () => hear("leaving"));
  if ("document" in globalThis) {
    listen(document, "visibilitychange", () => hear(document.visibilityState === "visible" ? "visible" : "leaving"));
  }
  return () => ended.abort();
}
