// Devices and the real server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SyncClient } from "../../engine/wasm/pkg/index.js";
import { code, heard, open, Profile, sleep, server, synced, token, until, user, utf8 } from "./client/world.mjs";

const host = await server();

test("what is written on one device is on the other", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.set("active_file", "web/a.rs");
  await one.set("sessions/s1/title", "Fix login");
  await one.write("files/web/a.rs", "fn main() {}\n");
  await one.sync();
  await other.sync();
  assert.equal(other.get("active_file"), "web/a.rs");
  assert.equal(other.get("sessions/s1/title"), "Fix login");
  assert.equal(other.text("files/web/a.rs"), "fn main() {}\n");
  assert.deepEqual(other.keys("files/"), ["files/web/a.rs"]);
  assert.ok(heard(other, "change").some(({ keys }) => keys.includes("files/web/a.rs")));
  assert.equal(one.status, "synced");
  assert.deepEqual((await one.devices()).map(({ device_id }) => device_id).sort(), [one.deviceId, other.deviceId].sort());
});

test("line ends and byte order marks survive byte for byte", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  const texts = { bom: "\uFEFFa\r\nb\rc\n", crlf: "a\r\nb\r\n", none: "a", empty: "", nfd: "e\u0301 \u00e9\u2028" };
  for (const [path, text] of Object.entries(texts)) await one.write(`files/${path}`, text);
  await one.write("files/binary", new Uint8Array([0, 255, 254, 13, 10]));
  await one.sync();
  await other.sync();
  for (const [path, text] of Object.entries(texts)) {
    assert.equal(one.text(`files/${path}`), text);
    assert.equal(other.text(`files/${path}`), text);
    assert.deepEqual(other.bytes(`files/${path}`), utf8(text));
  }
  assert.deepEqual(other.bytes("files/binary"), new Uint8Array([0, 255, 254, 13, 10]));
  assert.equal(other.text("files/binary"), undefined);
});

test("edits made offline on both sides are merged", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.write("files/a", "1\n2\n3\n4\n5\n");
  await one.sync();
  await other.sync();
  one.online = false;
  other.tab.goOffline();
  assert.equal(one.status, "offline");
  await one.write("files/a", "one\n2\n3\n4\n5\n");
  await other.write("files/a", "1\n2\n3\n4\nfive\n");
  await assert.rejects(one.sync(), code("offline"));
  one.online = true;
  await one.sync();
  other.tab.goOnline();
  await other.sync();
  await one.sync();
  assert.equal(one.text("files/a"), "one\n2\n3\n4\nfive\n");
  assert.equal(other.text("files/a"), "one\n2\n3\n4\nfive\n");
});

test("a conflict is shown with its sides and resolved from the other device", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.write("files/a", "base\n");
  await one.sync();
  await other.sync();
  one.online = other.online = false;
  await one.write("files/a", "mine\n");
  await other.write("files/a", "theirs\n");
  other.online = true;
  await other.sync();
  one.online = true;
  await until(() => one.conflicts().length === 1, "a conflict");
  const [conflict] = one.conflicts();
  assert.equal(conflict.key, "files/a");
  assert.equal(conflict.base.content, "base\n");
  assert.equal(conflict.mine.content, "mine\n");
  assert.equal(conflict.theirs.content, "theirs\n");
  await until(() => one.status === "blocked");
  await assert.rejects(one.sync(), code("blocked"));
  await until(() => other.conflicts().length === 1, "the conflict on the other device");
  await other.resolve(conflict.id, "merged", { content: "both\n" });
  await until(() => one.text("files/a") === "both\n" && one.conflicts().length === 0, "the resolution");
  await assert.rejects(one.resolve(conflict.id, "mine"), code("conflict_resolved"));
  await one.sync();
});

test("a resolution that met a newer theirs is refused, and may be forced", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.write("files/a", "base\n");
  await one.sync();
  await other.sync();
  one.online = other.online = false;
  await one.write("files/a", "mine\n");
  await other.write("files/a", "theirs\n");
  other.online = true;
  await other.sync();
  one.online = true;
  await until(() => one.conflicts().length === 1, "a conflict");
  const [conflict] = one.conflicts();
  await other.write("files/a", "theirs, later\n");
  await other.sync();
  const seen = { theirsHash: conflict.theirs.hash };
  await assert.rejects(one.resolve(conflict.id, "mine", seen), code("conflict_moved"));
  await one.resolve(conflict.id, "mine", { ...seen, force: true });
  await until(() => other.text("files/a") === "mine\n", "the resolution");
});

test("an expired token is refreshed by the callback", async () => {
  const name = user();
  let asked = 0;
  const client = await open(host, name, {
    token: async () => token(name, (asked += 1) === 1 ? -100 : 3600),
  });
  await client.write("files/a", "a");
  await until(() => client.status === "synced", "synced", 20_000);
  assert.ok(asked >= 2);
});

test("a user who is signed out keeps editing, and syncs after signing in", async () => {
  const name = user();
  let isSignedIn = false;
  const client = await open(host, name, {
    token: async () => {
      if (!isSignedIn) throw new Error("signed out");
      return token(name);
    },
  });
  await client.write("files/a", "a");
  await until(() => client.status === "unauthorised");
  await assert.rejects(client.sync(), code("unauthorised"));
  isSignedIn = true;
  await client.signedIn();
  await synced(client);
  assert.deepEqual(client.pending(), []);
});

test("a token that never comes does not stop the device when the user has signed in", async () => {
  const name = user();
  let isSilent = true;
  const answer = () => (isSilent ? new Promise(() => undefined) : Promise.resolve(token(name)));
  const client = await open(host, name, { token: answer });
  await client.write("files/a", "a");
  await sleep(100);
  isSilent = false;
  await client.signedIn();
  await synced(client);
  assert.deepEqual(client.pending(), []);
});

test("a token that never comes is asked for again", async () => {
  const name = user();
  let asked = 0;
  const tab = new Profile().tab();
  // Its minutes are short.
  const { after } = tab;
  tab.after = (ms, run) => after(Math.min(ms, 200), run);
  const answer = () => ((asked += 1) === 1 ? new Promise(() => undefined) : Promise.resolve(token(name)));
  const client = await open(host, name, { tab, token: answer });
  await synced(client);
  assert.ok(heard(client, "error").some(({ code }) => code === "token_silent"));
});

test("a removed device stops, and registers anew when the user has signed in, with its edits", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.sync();
  await other.sync();
  const before = other.deviceId;
  await one.removeDevice(before);
  await other.write("files/a", "kept");
  await until(() => other.status === "unauthorised");
  await until(() => heard(other, "error").some(({ code }) => code === "device_revoked"), "device_revoked");
  await other.signedIn();
  await synced(other);
  assert.notEqual(other.deviceId, before);
  await one.sync();
  assert.equal(one.text("files/a"), "kept");
});

test("a server that is killed and comes back gets everything", async () => {
  const name = user();
  const client = await open(host, name);
  await client.sync();
  await host.kill();
  await client.write("files/a", "while it was away");
  await until(() => client.status === "offline", "offline", 20_000);
  await host.up();
  await client.sync();
  const other = await open(host, name);
  await other.sync();
  assert.equal(other.text("files/a"), "while it was away");
});

test("history and old contents can be had", async () => {
  const client = await open(host, user());
  await client.write("files/a", "first");
  await client.sync();
  await client.write("files/a", "second");
  await client.sync();
  const versions = await client.history("files/a");
  assert.equal(versions.length, 2);
  assert.deepEqual(await client.content(versions[1].hash), utf8("first"));
  await assert.rejects(client.content("0".repeat(64)), code("not_found"));
});

test("a write that the host rejects is told and kept, and can be taken back", async () => {
  const client = await open(host, user());
  await client.sync();
  await client.write("files/large", "x".repeat(600 * 1024));
  await until(() => heard(client, "rejected").length === 1, "rejected");
  assert.equal(heard(client, "rejected")[0].code, "file_too_large");
  assert.equal(client.rejected()[0].key, "files/large");
  assert.equal(client.text("files/large").length, 600 * 1024);
  await assert.rejects(client.sync(), (error) => code("rejected")(error) && error.message.includes("files/large"));
  assert.equal(client.status, "synced");
  assert.equal(heard(client, "status").at(-1).rejected, 1);
  await client.revert("files/large");
  assert.equal(client.has("files/large"), false);
  await client.sync();
  assert.equal(heard(client, "status").at(-1).rejected, 0);
});

test("variables are sealed: the server stores a box; another device opens it with the secret", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  const secret = { auth: utf8("a long-lived secret of the user") };
  assert.deepEqual(await one.env.open(secret), {});
  await one.env.save({ API_KEY: "hunter2" }, secret);
  await one.sync();
  await other.sync();
  assert.equal(JSON.stringify(other.get("env_encrypted")).includes("hunter2"), false);
  assert.deepEqual(await other.env.open(secret), { API_KEY: "hunter2" });
  await assert.rejects(other.env.open({ auth: utf8("another secret than the user's") }), code("wrong_key"));
  await assert.rejects(other.env.save({}, { auth: utf8("another secret than the user's") }), code("wrong_key"));
  const box = structuredClone(other.get("env_encrypted"));
  box.ct = (box.ct[0] === "A" ? "B" : "A") + box.ct.slice(1);
  await other.set("env_encrypted", box);
  await assert.rejects(other.env.open(secret), code("damaged"));
});

test("variables changed on two devices at once are merged by name", async () => {
  const name = user();
  const [one, other] = [await open(host, name), await open(host, name)];
  const secret = { auth: utf8("a long-lived secret of the user") };
  await one.env.save({ A: "1", B: "1", C: "1" }, secret);
  await one.sync();
  await other.sync();
  one.online = other.online = false;
  await one.env.save({ A: "one", B: "1", C: "1", D: "one" }, secret);
  await one.env.save({ A: "one", B: "1", C: "1", D: "one", E: "one" }, secret);
  await other.env.save({ A: "1", B: "other" }, secret);
  one.online = true;
  await one.sync();
  other.online = true;
  const merged = { A: "one", B: "other", D: "one", E: "one" };
  await until(async () => JSON.stringify(await other.env.open(secret)) === JSON.stringify(merged), "merged on the other");
  await other.sync();
  await one.sync();
  assert.deepEqual(await one.env.open(secret), merged);
});

test("variables that lost are merged also after a restart, once the secret is known", async () => {
  const name = user();
  const secret = { auth: utf8("a long-lived secret of the user") };
  const profile = new Profile();
  const one = await open(host, name);
  let other = await open(host, name, { tab: profile.tab() });
  await one.env.save({ A: "1" }, secret);
  await one.sync();
  await other.sync();
  other.online = false;
  await other.env.save({ A: "1", B: "other" }, secret);
  await one.env.save({ A: "one" }, secret);
  await one.sync();
  await other.close();
  other = await open(host, name, { tab: profile.tab() });
  await until(() => heard(other, "superseded").length === 1, "superseded");
  assert.deepEqual(await other.env.open(secret), { A: "one", B: "other" });
  await other.sync();
});

test("variables that lost are not dropped by saving others before they were merged", async () => {
  const name = user();
  const secret = { auth: utf8("a long-lived secret of the user") };
  const profile = new Profile();
  const one = await open(host, name);
  let other = await open(host, name, { tab: profile.tab() });
  await one.env.save({ A: "1" }, secret);
  await one.sync();
  await other.sync();
  other.online = false;
  await other.env.save({ A: "1", B: "lost" }, secret);
  await one.env.save({ A: "one" }, secret);
  await one.sync();
  await other.close();
  other = await open(host, name, { tab: profile.tab() });
  await until(() => heard(other, "superseded").length === 1, "superseded");
  await other.env.save({ A: "one", C: "new" }, secret);
  assert.deepEqual(await other.env.open(secret), { A: "one", B: "lost", C: "new" });
});

test("a secret that was removed does not open the box that another device saved meanwhile", async () => {
  const name = user();
  const [secret, removed, added] = [7, 9, 11].map((byte) => ({ auth: new Uint8Array(32).fill(byte) }));
  const [one, other] = [await open(host, name), await open(host, name)];
  await one.env.save({ A: "1" }, secret);
  await one.env.addSecret(secret, "removed", removed);
  await one.sync();
  await other.sync();
  other.online = false;
  await other.env.removeSecret(secret, "removed");
  await other.env.addSecret(secret, "added", added);
  await sleep(5);
  await one.env.save({ A: "2" }, secret);
  await one.sync();
  other.online = true;
  await until(() => heard(other, "superseded").length === 1 && other.superseded().length === 0, "merged");
  await other.sync();
  await one.sync();
  await assert.rejects(one.env.open(removed), code("wrong_key"));
  assert.deepEqual(await one.env.open(added), { A: "2" });
});

test("a removed secret whose box lost is told of until it is merged, also after a crash", async () => {
  const [name, profile] = [user(), new Profile()];
  const [secret, removed] = [7, 9].map((byte) => ({ auth: new Uint8Array(32).fill(byte) }));
  const one = await open(host, name);
  let other = await open(host, name, { tab: profile.tab({ isOnlineNow: true }) });
  await one.env.save({ A: "1" }, secret);
  await one.env.addSecret(secret, "removed", removed);
  await one.sync();
  await other.sync();
  other.online = false;
  await other.env.removeSecret(secret, "removed");
  other.tab.kill();
  await one.env.save({ A: "2" }, secret);
  await one.sync();
  for (let opened = 0; opened < 2; opened += 1) {
    other = await open(host, name, { tab: profile.tab() });
    await until(() => heard(other, "error").some(({ code }) => code === "env_unmerged"), "told");
    assert.deepEqual(other.superseded().map(({ key }) => key), ["env_encrypted"]);
    await sleep(50);
    if (opened === 0) other.tab.kill();
  }
  assert.deepEqual(await other.env.open(secret), { A: "2" });
  await other.sync();
  await one.sync();
  assert.deepEqual(other.superseded(), []);
  await assert.rejects(one.env.open(removed), code("wrong_key"));
});

test("a write that lost is told of when somebody listens, once", async () => {
  const [name, profile] = [user(), new Profile()];
  const other = await open(host, name);
  const url = host.url;
  const plain = await SyncClient.open({ url, user: name, token: async () => token(name) }, profile.tab());
  await plain.set("n", 0);
  await plain.sync();
  plain.online = false;
  await plain.set("n", "earlier");
  await sleep(5);
  await other.set("n", "later");
  await other.sync();
  plain.online = true;
  await until(() => plain.get("n") === "later" && plain.pending().length === 0, "lost");
  assert.deepEqual(plain.superseded(), [{ key: "n", mine: "earlier", theirs: "later" }]);
  await plain.close();
  const listening = await open(host, name, { tab: profile.tab() });
  await until(() => heard(listening, "superseded").length === 1 && listening.superseded().length === 0, "told");
  await listening.close();
  const again = await open(host, name, { tab: profile.tab() });
  await again.sync();
  assert.deepEqual(heard(again, "superseded"), []);
});
