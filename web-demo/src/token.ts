import { keepToken, looksUsable } from "./config";

/** The user's JWT, shared by the page's devices. One that has run out is asked for, not sent again. */
export class UserToken {
  #jwt: string;
  #changed = new Set<() => void>();

  constructor(jwt: string) {
    this.#jwt = jwt;
  }

  get usable(): boolean {
    return looksUsable(this.#jwt);
  }

  /** What SyncClient asks for. */
  get = (): Promise<string> =>
    this.usable ? Promise.resolve(this.#jwt) : Promise.reject(new Error("The sign-in has run out."));

  replace(jwt: string): void {
    this.#jwt = jwt.trim();
    keepToken(this.#jwt);
    for (const listener of this.#changed) listener();
  }

  onChange(listener: () => void): void {
    this.#changed.add(listener);
  }
}
