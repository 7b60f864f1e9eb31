import { SyncError } from "./errors.js";
import type { Tab } from "./seat.js";
import type { Outgoing } from "./transport.js";
import type { Json } from "./types.js";

/** One of the user's devices, docs/protocol.md section 6. */
export interface Device {
  device_id: string;
  platform: string;
  last_seen: string;
  created_at: string;
  seq: number;
  blocked: boolean;
}

/** One version of a key, section 9. */
export interface Version {
  seq: number;
  device_id: string;
  created_at: string;
  cause: "push" | "merge" | "resolve" | "superseded" | "conflict";
  /** Of a document; null: it was removed. */
  hash?: string | null;
  /** Of a scalar. */
  value?: Json;
}

/** What is asked of the host directly, with the user's own token: it needs the network. */
export class Host {
  readonly #tab: Tab;

  constructor(tab: Tab) {
    this.#tab = tab;
  }

  async devices(): Promise<Device[]> {
    const { devices } = await this.#json<{ devices: Device[] }>("/sync/devices");
    return devices;
  }

  async removeDevice(id: string): Promise<void> {
    await this.#ask({ method: "DELETE", path: `/sync/devices/${encodeURIComponent(id)}` });
  }

  async history(key: string): Promise<Version[]> {
    const versions: Version[] = [];
    let cursor: string | number | null | undefined;
    do {
      const at = cursor == null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page = await this.#json<{ versions: Version[]; next?: string | number | null }>(
        `/sync/history?key=${encodeURIComponent(key)}${at}`,
      );
      versions.push(...page.versions);
      cursor = page.next;
    } while (cursor != null);
    return versions;
  }

  content(hash: string): Promise<Uint8Array> {
    return this.#ask({ path: `/sync/files/${encodeURIComponent(hash)}`, expectsJson: false });
  }

  async #json<Body>(path: string): Promise<Body> {
    const body = await this.#ask({ path });
    try {
      return JSON.parse(new TextDecoder().decode(body)) as Body;
    } catch (error) {
      throw new SyncError("not_a_sync_server", "the answer is no JSON", { cause: error });
    }
  }

  async #ask(outgoing: Partial<Outgoing> & { path: string }): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt += 1) {
      const { status, body } = await this.#tab.transport.send({
        method: "GET",
        body: null,
        expectsJson: true,
        ...outgoing,
        token: await this.#token(),
      });
      if (status < 400) return body;
      // A token that has just expired: asked for once more, it is a new one.
      if (status !== 401 || attempt > 1) throw problem(status, body);
    }
  }

  async #token(): Promise<string> {
    try {
      return await this.#tab.token.get();
    } catch (error) {
      if (error instanceof SyncError && error.code === "token_silent") throw error;
      throw new SyncError("unauthorised", "the user has to sign in", { cause: error });
    }
  }
}

/** The host's problem+json as an error; of an answer that is none, the status. */
function problem(status: number, body: Uint8Array): SyncError {
  try {
    const { code, detail, title } = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
    if (typeof code === "string") return new SyncError(code, String(detail ?? title ?? code));
  } catch {
    // Somebody else's page.
  }
  return new SyncError(status === 401 ? "unauthorised" : `http_${status}`, `the host answered ${status}`);
}
