// The real server, and tokens for it.
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const PROGRAM = fileURLToPath(new URL("../../../target/debug/nself-sync", import.meta.url));
const KEY = "a secret for tests, of 32 bytes or more";

export class Server {
  #folder;
  #port = 0;
  #settings;
  #child;

  static async start(settings = {}) {
    const server = new Server();
    server.#settings = settings;
    server.#folder = await mkdtemp(join(tmpdir(), "nself-sync-"));
    await server.up();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get #data() {
    return join(this.#folder, "data");
  }

  /** An operator's command beside the server. */
  async command(...args) {
    await promisify(execFile)(PROGRAM, args, { env: { PLUGIN_SYNC_DATA_DIR: this.#data }, cwd: this.#folder });
  }

  async up() {
    const file = join(this.#folder, `address-${Math.random()}`);
    this.#child = spawn(PROGRAM, ["--address-file", file], {
      env: {
        ...this.#settings,
        PORT: String(this.#port),
        PLUGIN_SYNC_DATA_DIR: this.#data,
        HASURA_GRAPHQL_JWT_SECRET: JSON.stringify({ type: "HS256", key: KEY }),
        LOG_LEVEL: "warn",
      },
      // Not this process's own: should the server outlive a crash of it, whoever reads that output to its end would wait
      // for ever.
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const output of [this.#child.stdout, this.#child.stderr]) output.pipe(process.stderr, { end: false });
    for (let waited = 0; ; waited += 20) {
      const address = existsSync(file) ? (await readFile(file, "utf8")).trim() : "";
      if (address !== "") {
        this.#port = Number(address.split(":").pop());
        return;
      }
      if (waited > 20_000) throw new Error("the server does not start");
      await sleep(20);
    }
  }

  async kill() {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }

  async stop() {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A user's JWT. */
export function token(user, seconds = 3600) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${signed}.${createHmac("sha256", KEY).update(signed).digest("base64url")}`;
}
