import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = new URL("../../..", import.meta.url).pathname;
const KEY = "a key for the end-to-end tests, long enough";

/** A user's token, as the application around it would give out. */
export function jwt(user, lives_s = 86_400) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + lives_s };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", KEY).update(signed).digest("base64url")}`;
}

/**
 * A host of the protocol, as a process on a folder of its own. It can be killed, and started again on the same port.
 * A subclass has `launch(vars)`: it starts the process, on `port` where that is not 0, and returns when it listens;
 * `child` and `port` are then set.
 */
export class Host {
  folder = mkdtempSync(join(tmpdir(), "nself-sync-e2e-"));
  child;
  port = 0;
  /** More arguments of the process. */
  args = [];
  #vars;

  static async start(vars = {}, args = []) {
    const host = new this();
    host.args = args;
    host.#vars = {
      PLUGIN_SYNC_CORS_ORIGINS: "*",
      PLUGIN_SYNC_PUSH_INTERVAL_MS: "500",
      HASURA_GRAPHQL_JWT_SECRET: JSON.stringify({ type: "HS256", key: KEY }),
      ...vars,
    };
    await host.restart();
    return host;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  restart() {
    return this.launch(this.#vars);
  }

  async kill() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /**
   * Shows what the process says. It does not have this process's output itself: should it outlive a crash of this process,
   * whoever reads that output to its end would wait for ever.
   */
  passOn(output) {
    output.pipe(process.stderr, { end: false });
  }

  /** A request as the user; the answer's JSON. */
  async ask(user, path, body, method = body === undefined ? "GET" : "POST") {
    const answer = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${jwt(user)}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  /** Puts files there, as another device would. */
  async put(user, files, device = "desktop-elsewhere") {
    const { seq } = await this.state(user);
    const entries = Object.entries(files).map(([path, content]) => [path, content === null ? null : typeof content === "string" ? { content } : { content_base64: Buffer.from(content).toString("base64") }]);
    return this.ask(user, "/sync/push", { device_id: device, seq, state: { files: Object.fromEntries(entries) } });
  }

  /** All the host has of the user. */
  state(user) {
    return this.ask(user, "/sync/pull");
  }

  /** A file's text on the host, byte for byte. */
  async file(user, path) {
    return (await this.state(user)).state.files?.[path]?.content;
  }
}
