// What every test of the client begins with.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { init, SyncClient } from "../../../engine/wasm/pkg/index.js";
import { Profile } from "./profile.mjs";
import { Server, token } from "./server.mjs";

await init(await readFile(new URL("../../../engine/wasm/pkg/wasm_bg.wasm", import.meta.url)));

const opened = new Set();
let users = 0;

/** A server for the tests of a file. */
export async function server(settings) {
  const server = await Server.start({ PLUGIN_SYNC_PUSH_INTERVAL_MS: "100", ...settings });
  after(async () => {
    await Promise.all([...opened].filter(({ tab }) => !tab.isGone).map((client) => client.close()));
    await server.stop();
  });
  return server;
}

export const user = () => `user-${(users += 1)}`;

/** Opens a client; what it reports is kept beside it. */
export async function open(server, name, { tab = new Profile().tab(), ...options } = {}) {
  const client = await SyncClient.open(
    { url: server.url, user: name, token: async () => token(name), ...options },
    tab,
  );
  opened.add(client);
  client.tab = tab;
  client.heard = [];
  for (const event of ["change", "conflict", "status", "rejected", "superseded", "activity", "repaired", "lookalike", "error"]) {
    client.on(event, (detail) => client.heard.push({ event, detail }));
  }
  return client;
}

export const heard = (client, event) => client.heard.filter((one) => one.event === event).map((one) => one.detail);

/** Waits until something is so. */
export async function until(check, what, ms = 20_000) {
  for (const began = Date.now(); !(await check()); await sleep(10)) {
    assert.ok(Date.now() - began < ms, `never: ${what ?? check}`);
  }
}

export const synced = (client) => until(() => client.status === "synced", () => "synced");

export { Profile, sleep, token };
export const utf8 = (text) => new TextEncoder().encode(text);
export const code = (expected) => (error) => {
  assert.equal(error.name, "SyncError");
  assert.equal(error.code, expected, error.message);
  return true;
};
