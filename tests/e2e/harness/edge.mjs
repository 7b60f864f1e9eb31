import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Host, ROOT } from "./host.mjs";

const EDGE = join(ROOT, "edge");
const START_MAX_MS = 30_000;

/** The edge, in the real workerd on local disk. */
export class Edge extends Host {
  /** The inspector's port, where there is one. */
  inspector;

  async launch(vars) {
    const storage = join(this.folder, "storage");
    mkdirSync(storage, { recursive: true });
    this.child = spawn(
      workerd(),
      ["serve", "workerd.capnp", "--experimental", "--control-fd=1", `--socket-addr=http=127.0.0.1:${this.port}`, `--directory-path=storage=${storage}`, ...this.args],
      { cwd: EDGE, env: vars, stdio: ["ignore", "pipe", "pipe"] },
    );
    this.passOn(this.child.stderr);
    const slow = setTimeout(() => this.child.kill("SIGKILL"), START_MAX_MS);
    this.port = await this.#listens().finally(() => clearTimeout(slow));
  }

  /** The port that it says; what else it says, the worker's own log, is passed on. */
  #listens() {
    return new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("exit", () => reject(new Error("workerd does not listen")));
      createInterface({ input: this.child.stdout }).on("line", (line) => {
        const { event, port } = told(line);
        if (port === undefined) process.stderr.write(`${line}\n`);
        else if (event === "listen-inspector") this.inspector = port;
        else resolve(port);
      });
    });
  }
}

/** What workerd tells, if the line is not the worker's own. */
function told(line) {
  try {
    return JSON.parse(line) ?? {};
  } catch {
    return {};
  }
}

/** The runtime of the npm package. */
function workerd() {
  if (!existsSync(join(EDGE, "build/index_bg.wasm"))) throw new Error("edge/build does not exist: run `cargo xtask edge build`");
  const folder = join(EDGE, "node_modules/@cloudflare");
  const found = readdirSync(folder).map((name) => join(folder, name, "bin/workerd")).find(existsSync);
  if (found === undefined) throw new Error(`no workerd in ${folder}`);
  return found;
}
