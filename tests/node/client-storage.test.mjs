// What the browser's storage does to a client: fills up, fails, is damaged, is of another version, is gone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Journal } from "../../engine/wasm/pkg/journal.js";
import { answer } from "./client/profile.mjs";
import { code, heard, open, Profile, server, sleep, synced, until, user, utf8 } from "./client/world.mjs";

const host = await server();

test("what was acknowledged is found again after a crash in the next moment", async () => {
  const [name, profile] = [user(), new Profile()];
  const before = await open(host, name, { tab: profile.tab({ isOnlineNow: false }) });
  await before.write("files/a", "\uFEFFkept\r\n");
  await before.set("sessions/s1/title", "kept");
  before.tab.kill();
  const after = await open(host, name, { tab: profile.tab() });
  assert.equal(after.text("files/a"), "\uFEFFkept\r\n");
  assert.equal(after.get("sessions/s1/title"), "kept");
  assert.equal(after.deviceId, before.deviceId);
  await synced(after);
  assert.deepEqual(after.pending(), []);
});

test("nothing is sent before it is on the disk", async () => {
  const profile = new Profile();
  const sent = [];
  const tab = profile.tab({ fetch: (url, init) => (sent.push(init.method), fetch(url, init)) });
  const client = await open(host, user(), { tab });
  await client.sync();
  const before = sent.filter((method) => method === "POST").length;
  profile.isFull = true;
  await assert.rejects(client.write("files/a", "a"), code("storage_full"));
  await sleep(500);
  assert.equal(sent.filter((method) => method === "POST").length, before);
});

test("a full disk: the status says so, edits stay in memory, and are saved when there is room", async () => {
  const [name, profile] = [user(), new Profile()];
  const client = await open(host, name, { tab: profile.tab() });
  await client.sync();
  profile.isFull = true;
  await assert.rejects(client.write("files/a", "a"), code("storage_full"));
  assert.equal(client.status, "unsaved");
  assert.equal(client.text("files/a"), "a");
  const later = client.write("files/b", "b");
  assert.equal(client.text("files/b"), "b");
  await assert.rejects(later, code("storage_full"));
  assert.equal(heard(client, "error").filter(({ code }) => code === "storage_full").length, 1);
  profile.isFull = false;
  await until(() => client.status === "synced", "saved and synced");
  client.tab.kill();
  const after = await open(host, name, { tab: profile.tab({ isOnlineNow: false }) });
  assert.equal(after.text("files/a"), "a");
  assert.equal(after.text("files/b"), "b");
});

test("a full disk in a tab that follows", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await synced(owner);
  profile.isFull = true;
  await assert.rejects(follower.write("files/a", "a"), code("storage_full"));
  assert.equal(follower.status, "unsaved");
  assert.equal(follower.text("files/a"), "a");
  profile.isFull = false;
  await until(() => owner.text("files/a") === "a", "the owner has it");
  await until(() => follower.status === "synced");
});

test("damaged content is kept aside, told, and begun anew from the server", async () => {
  const [name, profile] = [user(), new Profile()];
  const before = await open(host, name, { tab: profile.tab() });
  await before.write("files/a", "on the server");
  await before.sync();
  const { deviceId } = before;
  await before.close();
  const [database] = await profile.names();
  await profile.write(database, "journal", "meta", utf8("no record"));
  const kept = await profile.read(database, "journal");
  const after = await open(host, name, { tab: profile.tab() });
  await until(() => heard(after, "error").some(({ code }) => code === "kept_aside"), "told");
  assert.ok(heard(after, "error")[0].message.includes(database));
  await after.sync();
  assert.equal(after.text("files/a"), "on the server");
  assert.notEqual(after.deviceId, deviceId);
  assert.deepEqual(await profile.read(database, "journal"), kept);
  // And it stays so.
  const renewed = after.deviceId;
  await after.close();
  const again = await open(host, name, { tab: profile.tab({ isOnlineNow: false }) });
  assert.equal(again.text("files/a"), "on the server");
  assert.equal(again.deviceId, renewed);
});

test("edits that waited in the inbox outlive a damaged journal", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab({ isSeen: false }) });
  await synced(owner);
  owner.tab.freeze();
  await follower.write("files/a", "in the inbox");
  follower.tab.kill();
  owner.tab.kill();
  const [database] = await profile.names();
  await profile.write(database, "journal", "meta", utf8("no record"));
  const after = await open(host, name, { tab: profile.tab() });
  assert.equal(after.text("files/a"), "in the inbox");
  await synced(after);
});

test("two owners that set one journal aside at the same time agree on what comes after it", async () => {
  const { indexedDB } = new Profile().tab();
  const [{ journal: one }, { journal: other }] = [await Journal.open(indexedDB, "x"), await Journal.open(indexedDB, "x")];
  await one.claim("device");
  await one.post([{ kind: "revert", key: "files/a", at: 0 }]);
  const posted = sleep(1).then(() => other.post([{ kind: "revert", key: "files/b", at: 0 }]));
  assert.deepEqual(await Promise.all([one.setAside("1"), other.setAside("2")]), ["x", "x"]);
  await posted;
  await one.claim("device");
  assert.equal(one.name, (await other.read(), other.name));
  const { journal: later } = await Journal.open(indexedDB, "x");
  assert.deepEqual((await later.inbox(0)).map(({ edit }) => edit.key), ["files/a", "files/b"]);
});

test("without Web Locks two tabs open a damaged journal at the same time", async () => {
  const [name, profile] = [user(), new Profile({ hasLocks: false })];
  const before = await open(host, name, { tab: profile.tab() });
  await before.write("files/a", "on the server");
  await before.sync();
  await before.close();
  const [database] = await profile.names();
  await profile.write(database, "journal", "meta", utf8("no record"));
  const [one, other] = await Promise.all([open(host, name, { tab: profile.tab() }), open(host, name, { tab: profile.tab() })]);
  await until(() => one.text("files/a") === "on the server" && other.text("files/a") === "on the server", "both");
  await one.write("files/b", "1");
  await until(() => other.text("files/b") === "1", "the other tab");
});

test("a database of a later version is left alone", async () => {
  const [name, profile] = [user(), new Profile()];
  const first = await open(host, name, { tab: profile.tab() });
  await first.close();
  const [database] = await profile.names();
  const later = await answer(profile.indexedDB.open(database, 99));
  later.close();
  const client = await open(host, name, { tab: profile.tab() });
  await until(() => heard(client, "error").some(({ code }) => code === "kept_aside"), "told");
  await client.write("files/a", "a");
  await synced(client);
  assert.equal((await answer(profile.indexedDB.open(database))).version, 99);
});

test("a newer version of the page takes the database: this one says so and does not write any more", async () => {
  const [name, profile] = [user(), new Profile()];
  const client = await open(host, name, { tab: profile.tab() });
  await client.write("files/a", "a");
  const [database] = await profile.names();
  await answer(profile.indexedDB.open(database, 2));
  await assert.rejects(client.write("files/a", "b"), code("newer_version"));
  assert.equal(client.status, "unsaved");
});

test("the site's data is cleared while the page is open: what was not synced is saved again", async () => {
  const [name, profile] = [user(), new Profile()];
  const client = await open(host, name, { tab: profile.tab() });
  await client.write("files/synced", "1");
  await client.sync();
  client.online = false;
  await client.write("files/a", "only here");
  const [database] = await profile.names();
  await answer(profile.indexedDB.deleteDatabase(database));
  await client.write("files/b", "typed after");
  client.online = true;
  await until(() => client.status === "synced" && client.pending().length === 0, "synced");
  const other = await open(host, name);
  await other.sync();
  assert.equal(other.text("files/a"), "only here");
  assert.equal(other.text("files/b"), "typed after");
  assert.equal(client.text("files/synced"), "1");
});

test("the site's data is cleared: what the host rejected and fields that waited are saved again", async () => {
  const [name, profile] = [user(), new Profile()];
  const client = await open(host, name, { tab: profile.tab() });
  await client.write("files/large", "x".repeat(600 * 1024));
  await until(() => client.rejected().length === 1, "rejected");
  client.online = false;
  await client.set("sessions/s1/title", "waits");
  const [database] = await profile.names();
  await answer(profile.indexedDB.deleteDatabase(database));
  await client.write("files/b", "typed after");
  client.online = true;
  await until(() => client.rejected().length === 1, "rejected again");
  await assert.rejects(client.sync(), code("rejected"));
  assert.equal(client.text("files/large").length, 600 * 1024);
  const other = await open(host, name);
  await other.sync();
  assert.equal(other.get("sessions/s1/title"), "waits");
  assert.equal(other.text("files/b"), "typed after");
});

test("a closed client says so", async () => {
  const client = await open(host, user());
  await client.close();
  await assert.rejects(client.write("files/a", "a"), code("closed"));
  await assert.rejects(client.sync(), code("closed"));
  assert.throws(() => client.get("a"), code("closed"));
});
