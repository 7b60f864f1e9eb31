import type { Browser } from "./browser.js";
import { SyncError } from "./errors.js";

/** How long the caller's function may take: to show a dialog it has no need of more, as it can answer `signedIn()` later. */
const ANSWER_MS_MAX = 60_000;

/** The user's JWT, from a function of the caller's, which may never answer. */
export class Token {
  readonly #ask: () => Promise<string>;
  readonly #browser: Browser;
  readonly #again = new Set<() => void>();
  readonly #end = new AbortController();

  constructor(ask: () => Promise<string>, browser: Browser) {
    this.#ask = ask;
    this.#browser = browser;
  }

  /** Rejects as the caller's function does, or with `token_silent`. */
  get(): Promise<string> {
    return new Promise((resolve, reject) => {
      const silent = new SyncError("token_silent", "the token() that was given to open() did not answer");
      const cancel = this.#browser.after(ANSWER_MS_MAX, () => settle(() => reject(silent)));
      const again = (): void => settle(() => resolve(this.get()));
      const settle = (how: () => void): void => {
        cancel();
        this.#end.signal.removeEventListener("abort", ended);
        this.#again.delete(again);
        how();
      };
      const ended = (): void => settle(() => reject(silent));
      this.#end.signal.addEventListener("abort", ended);
      this.#again.add(again);
      new Promise<string>((answer) => answer(this.#ask())).then(
        (token) => settle(() => resolve(token)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  /** Nobody waits any more. */
  end(): void {
    this.#end.abort();
  }

  /** The user has signed in: whoever still waits for an answer asks anew. */
  renew(): void {
    for (const again of [...this.#again]) again();
  }
}
