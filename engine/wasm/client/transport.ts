import type { Browser } from "./browser.js";
import { SyncError } from "./errors.js";

/** What goes to the host. */
export interface Outgoing {
  method: "GET" | "POST" | "DELETE";
  path: string;
  body: string | null;
  token: string;
  /** False where the answer's body is a document's bytes. */
  expectsJson: boolean;
}

/** What came back, whatever its status. */
export interface Answer {
  status: number;
  body: Uint8Array<ArrayBuffer>;
  retryAfterMs: number | undefined;
}

/** No answer, or no further byte of one, for so long. */
const SILENCE_MS_MAX = 30_000;
/** The slowest line that a request is given time for. */
const UPLOAD_BYTES_PER_MS_MIN = 8;
/** Below this, compressing costs more than it saves. */
const COMPRESS_BYTES_MIN = 1_024;
/** What a browser lets a page send while it is closed. */
const KEEPALIVE_BYTES_MAX = 48 * 1_024;

/** HTTP to one host. What brings no answer is a SyncError `unreachable`, an answer of somebody else's `not_a_sync_server`. */
export class Transport {
  readonly #url: string;
  readonly #browser: Browser;
  #takesGzip = typeof CompressionStream === "function";

  constructor(url: string, browser: Browser) {
    this.#url = url.replace(/\/+$/, "");
    this.#browser = browser;
  }

  async send(outgoing: Outgoing): Promise<Answer> {
    const { body } = outgoing;
    if (body !== null && body.length >= COMPRESS_BYTES_MIN && this.#takesGzip) {
      const answer = await this.#exchange(outgoing, await gzip(body), { "Content-Encoding": "gzip" });
      if (answer.status !== 415) return answer;
      this.#takesGzip = false;
    }
    return this.#exchange(outgoing, body === null ? null : new TextEncoder().encode(body), {});
  }

  /** The live messages' address. */
  live(deviceId: string): string {
    return `${this.#url.replace(/^http/, "ws")}/sync/live?device_id=${encodeURIComponent(deviceId)}`;
  }

  async #exchange(
    { method, path, token, expectsJson }: Outgoing,
    body: Uint8Array<ArrayBuffer> | null,
    encoding: Record<string, string>,
  ): Promise<Answer> {
    const patience = new Patience(this.#browser);
    patience.begin(SILENCE_MS_MAX + (body?.length ?? 0) / UPLOAD_BYTES_PER_MS_MIN);
    try {
      const response = await this.#browser.fetch(this.#url + path, {
        method,
        headers: {
          Authorization: `Bearer ${token}`,
          ...(body === null ? {} : { "Content-Type": "application/json", ...encoding }),
        },
        body,
        cache: "no-store",
        credentials: "omit",
        // A followed redirect would make a POST a GET, or end at a login page.
        redirect: "error",
        keepalive: body !== null && body.length <= KEEPALIVE_BYTES_MAX && !this.#browser.isVisible(),
        signal: patience.signal,
      });
      if (response.ok && expectsJson && response.status !== 204 && !isJson(response)) {
        await response.body?.cancel();
        const type = response.headers.get("Content-Type") ?? "without a type";
        throw new SyncError("not_a_sync_server", `${this.#url} answered ${type} where JSON was expected`);
      }
      return {
        status: response.status,
        body: await readBody(response, patience),
        retryAfterMs: retryAfterMs(response.headers, this.#browser.now()),
      };
    } catch (error) {
      if (error instanceof SyncError) throw error;
      throw new SyncError("unreachable", `${this.#url} did not answer`, { cause: error });
    } finally {
      patience.end();
    }
  }
}

/** Aborts what waits for too long; a slow answer that goes on is not too long. */
class Patience {
  readonly #browser: Browser;
  readonly #controller = new AbortController();
  #cancel: () => void = () => undefined;

  constructor(browser: Browser) {
    this.#browser = browser;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begin(ms: number): void {
    this.#cancel();
    this.#cancel = this.#browser.after(ms, () => this.#controller.abort());
  }

  end(): void {
    this.#cancel();
  }
}

async function readBody(response: Response, patience: Patience): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const reader = response.body?.getReader();
  while (reader !== undefined) {
    patience.begin(SILENCE_MS_MAX);
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
  }
  const body = new Uint8Array(chunks.reduce((bytes, chunk) => bytes + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

async function gzip(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const compressed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(compressed).arrayBuffer());
}

function isJson(response: Response): boolean {
  return /^application\/([\w.-]+\+)?json\b/i.test(response.headers.get("Content-Type") ?? "");
}

/** Retry-After as seconds or as a date, which is the host's: it is read against the host's own `Date`. */
function retryAfterMs(headers: Headers, now: number): number | undefined {
  const value = headers.get("Retry-After");
  if (value === null) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  const hostNow = Date.parse(headers.get("Date") ?? "");
  const ms = Date.parse(value) - (Number.isNaN(hostNow) ? now : hostNow);
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
