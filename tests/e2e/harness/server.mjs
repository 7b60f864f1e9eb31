import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ROOT = new URL("../../..", import.meta.url).pathname;
const BINARY = process.env.NSELF_SYNC_BINARY ?? join(ROOT, "target/debug/nself-sync");
const KEY = "a key for the end-to-end tests, long enough";

/** A user's token, as the application around it would give out. */
export function jwt(user, lives_s = 86_400) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + lives_s };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", KEY).update(signed).digest("base64url")}`;
}

/** A native server on a folder of its own. It can be killed, and started again on the same port. */
export class Server {
  #folder = mkdtempSync(join(tmpdir(), "nself-sync-e2e-"));
  #child;
  #vars;
  port = 0;

  static async start(vars = {}) {
    const server = new Server();
    server.#vars = vars;
    await server.restart();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async restart() {
    const addressFile = join(this.#folder, "address");
    rmSync(addressFile, { force: true });
    this.#child = spawn(BINARY, ["serve", "--address-file", addressFile], {
      env: {
        ...process.env,
        PORT: String(this.port),
        PLUGIN_SYNC_DATA_DIR: join(this.#folder, "data"),
        PLUGIN_SYNC_CORS_ORIGINS: "*",
        PLUGIN_SYNC_PUSH_INTERVAL_MS: "500",
        HASURA_GRAPHQL_JWT_SECRET: JSON.stringify({ type: "HS256", key: KEY }),
        LOG_LEVEL: "warn",
        ...this.#vars,
      },
      stdio: ["ignore", "inherit", "inherit"],
    });
    for (let tries = 0; tries < 300; tries += 1) {
      const address = readOr(addressFile, "").trim();
      if (address.includes(":")) {
        this.port = Number(address.split(":").at(-1));
        return;
      }
      await sleep(50);
    }
    throw new Error("the server does not listen");
  }

  async kill() {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }

  async stop() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
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

  /** All the server has of the user. */
  state(user) {
    return this.ask(user, "/sync/pull");
  }

  /** A file's text on the server, byte for byte. */
  async file(user, path) {
    return (await this.state(user)).state.files?.[path]?.content;
  }
}

function readOr(file, otherwise) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return otherwise;
  }
}
