import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Host, ROOT } from "./host.mjs";

const BINARY = process.env.NSELF_SYNC_BINARY ?? join(ROOT, "target/debug/nself-sync");

/** A native server, on SQLite. */
export class Server extends Host {
  async launch(vars) {
    const addressFile = join(this.folder, "address");
    rmSync(addressFile, { force: true });
    this.child = spawn(BINARY, ["serve", "--address-file", addressFile], {
      env: { ...process.env, PORT: String(this.port), PLUGIN_SYNC_DATA_DIR: join(this.folder, "data"), LOG_LEVEL: "warn", ...vars },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.passOn(this.child.stdout);
    this.passOn(this.child.stderr);
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
}

function readOr(file, otherwise) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return otherwise;
  }
}
