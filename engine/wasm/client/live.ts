import type { Browser } from "./browser.js";

/** docs/protocol.md, section 10. */
const PROTOCOL = "nself-sync.v1";
/** A host that refuses the connection has no live messages, as far as a browser can tell: tried again so rarely. */
const NOT_OFFERED_MS = 10 * 60_000;
/** The token has ended, the device was removed, or the user was moved: what to do about it the host says to the next request. */
const ENDED = [4401, 4403, 4410];
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 60_000;

/**
 * Hints that something changed, over one WebSocket of the tab that owns the replica. Hints only: they say "pull", and
 * without them the replica polls.
 */
export class Live {
  readonly #browser: Browser;
  readonly #hear: (what: "up" | "hint" | "down") => void;
  #target: { url: string; token: string } | undefined;
  #socket: WebSocket | undefined;
  #cancelRetry: (() => void) | undefined;
  #failures = 0;
  #wasOffered = false;

  constructor(browser: Browser, hear: (what: "up" | "hint" | "down") => void) {
    this.#browser = browser;
    this.#hear = hear;
  }

  /** Keeps a connection with this token; undefined ends it. Cheap to call again with the same. */
  connect(target: { url: string; token: string } | undefined): void {
    if (target?.url === this.#target?.url && target?.token === this.#target?.token) return;
    this.#target = target;
    this.#failures = 0;
    this.#wasOffered = false;
    this.#open();
  }

  /** The network is back: does not wait any longer, where the host is known to offer it. */
  retryNow(): void {
    if (this.#cancelRetry !== undefined && this.#wasOffered) this.#open();
  }

  #open(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    const before = this.#socket;
    this.#socket = undefined;
    before?.close();
    if (before !== undefined) this.#hear("down");
    const { WebSocket } = this.#browser;
    if (this.#target === undefined || WebSocket === undefined) return;
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.#target.url, [PROTOCOL, `bearer.${this.#target.token}`]);
    } catch {
      // Refused by the page's own policy, as an insecure socket of a secure page.
      return this.#retryIn(NOT_OFFERED_MS);
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#wasOffered = true;
      this.#failures = 0;
      this.#hear("up");
    };
    socket.onmessage = () => this.#hear("hint");
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#hear("down");
      if (ENDED.includes(code)) this.#hear("hint");
      this.#failures += 1;
      const backOff = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(this.#failures, 10));
      this.#retryIn(this.#wasOffered ? backOff * (0.5 + this.#browser.random() / 2) : NOT_OFFERED_MS);
    };
  }

  #retryIn(ms: number): void {
    this.#cancelRetry = this.#browser.after(ms, () => this.#open());
  }
}
