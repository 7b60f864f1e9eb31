import type { Browser } from "./browser.js";

/**
 * The replica's time for timers: the wall clock, but never backwards. Where the wall clock is set back it goes on by the
 * monotonic one, so that no deadline moves away. (Edits are dated by the wall clock itself.)
 */
export class Clock {
  readonly #browser: Browser;
  #now: number;
  #ticks: number;

  constructor(browser: Browser) {
    this.#browser = browser;
    this.#now = browser.now();
    this.#ticks = browser.ticks();
  }

  now(): number {
    const ticks = this.#browser.ticks();
    this.#now = Math.max(this.#browser.now(), this.#now + Math.max(0, ticks - this.#ticks));
    this.#ticks = ticks;
    return Math.floor(this.#now);
  }
}
