// Devices and the real server's live messages.
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "../../engine/wasm/node_modules/undici/index.js";
import { heard, open, Profile, server, until, user } from "./client/world.mjs";

// Nobody polls in the time of a test.
const host = await server({ PLUGIN_SYNC_PUSH_INTERVAL_MS: "60000" });

/** Two devices of a user that listen. */
async function listening() {
  const name = user();
  const clients = [];
  for (let device = 0; device < 2; device += 1) {
    const sockets = [];
    const tab = new Profile().tab({
      WebSocket: class extends WebSocket {
        constructor(...args) {
          super(...args);
          sockets.push(this);
        }
      },
    });
    const client = await open(host, name, { tab });
    await client.sync();
    clients.push(Object.assign(client, { sockets }));
  }
  await until(() => clients.every(({ sockets }) => sockets[0]?.readyState === WebSocket.OPEN), "both listen");
  return Object.assign(clients, { user: name });
}

test("with live messages a device follows at once, however rarely it polls", async () => {
  const [one, other] = await listening();
  for (const [from, to, text] of [[one, other, "a"], [other, one, "b"], [one, other, "c"]]) {
    await from.write("files/a", text);
    await from.sync();
    await until(() => to.text("files/a") === text, "told", 1_000);
  }
  for (const { sockets } of [one, other]) assert.deepEqual(sockets.map(({ protocol }) => protocol), ["nself-sync.v1"]);
});

test("a removed device finds out at once, by the end of its connection", async () => {
  const [one, other] = await listening();
  const ended = new Promise((resolve) => other.sockets[0].addEventListener("close", ({ code }) => resolve(code)));
  await one.removeDevice(other.deviceId);
  assert.equal(await ended, 4403);
  const revoked = ({ code }) => code === "device_revoked";
  await until(() => heard(other, "error").some(revoked), "device_revoked", 1_000);
});

test("a device of a moved user says so, keeps its edits, and goes on when the user is served again", async () => {
  const devices = await listening();
  const [one, other] = devices;
  const ended = new Promise((resolve) => one.sockets[0].addEventListener("close", ({ code }) => resolve(code)));
  await host.command("export", "--user", devices.user, "--move", "--output", "moved.jsonl");
  assert.equal(await ended, 4410);
  await until(() => one.status === "moved", "moved", 1_000);
  await one.write("files/a", "kept");
  await assert.rejects(one.sync(), ({ code }) => code === "moved");
  assert.deepEqual(one.pending(), ["files/a"]);
  await host.command("export", "--user", devices.user, "--undo-move");
  await until(() => other.text("files/a") === "kept", "it goes on");
});
