// Several tabs of one device: one owns the replica, the others follow.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Journal } from "../../engine/wasm/pkg/journal.js";
import { code, heard, open, Profile, server, sleep, synced, until, user } from "./client/world.mjs";

const host = await server();

test("two tabs of one device show the same, and are one device to the host", async () => {
  const [name, profile] = [user(), new Profile()];
  const [owner, follower] = [await open(host, name, { tab: profile.tab() }), await open(host, name, { tab: profile.tab() })];
  await owner.write("files/a", "from the owner\n");
  await until(() => follower.text("files/a") === "from the owner\n", "the owner's edit");
  assert.ok(heard(follower, "change").some(({ keys }) => keys.includes("files/a")));
  await follower.write("files/b", "from the follower\n");
  await follower.set("active_file", "b");
  await until(() => owner.text("files/b") === "from the follower\n" && owner.get("active_file") === "b", "the follower's edit");
  await follower.sync();
  assert.equal(follower.status, "synced");
  assert.deepEqual(follower.pending(), []);
  assert.equal(owner.deviceId, follower.deviceId);
  assert.deepEqual((await follower.devices()).map(({ device_id }) => device_id), [owner.deviceId]);
});

for (const readsLateMs of [0, 1, 3, 10]) {
  test(`both tabs type in one file and nothing is lost (one reads ${readsLateMs} ms late)`, async () => {
    const [name, profile] = [user(), new Profile()];
    const owner = await open(host, name, { tab: profile.tab() });
    const follower = await open(host, name, { tab: profile.tab({ readsLateMs }) });
    await owner.write("files/a", "top\n\n\n\nbottom\n");
    await until(() => follower.has("files/a"));
    const typed = [];
    let [above, below] = ["", ""];
    for (let n = 0; n < 40; n += 1) {
      const [inOwner, inFollower] = [owner.text("files/a"), follower.text("files/a")];
      assert.ok(inOwner.startsWith(`${above}top\n`), "the owner sees what was typed in it");
      assert.ok(inFollower.endsWith(`bottom\n${below}`), "the follower sees what was typed in it");
      [above, below] = [`${n}${above}`, `${below}${n}\n`];
      typed.push(owner.write("files/a", `${n}${inOwner}`));
      typed.push(follower.write("files/a", `${inFollower}${n}\n`));
      await sleep(n % 3);
    }
    await Promise.all(typed);
    await follower.sync();
    await until(() => owner.text("files/a") === follower.text("files/a"), "agreement");
    const expected = `${above}top\n\n\n\nbottom\n${below}`;
    assert.equal(owner.text("files/a"), expected);
    const other = await open(host, name);
    await other.sync();
    assert.equal(other.text("files/a"), expected);
    assert.deepEqual(other.conflicts(), []);
  });
}

test("what is written while a tab reads what was written before is shown there, too", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  owner.online = false;
  await owner.write("files/a", "0");
  const follower = await open(host, name, { tab: profile.tab({ readsLateMs: 100 }) });
  for (let n = 1; n <= 5; n += 1) {
    await owner.write("files/a", `${n} at first`);
    await sleep(20);
    await owner.write("files/a", `${n}`);
    await until(() => follower.text("files/a") === `${n}`, `${n} is shown`, 3_000);
  }
});

test("what a tab acknowledged is there although every message to the owner is lost", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab({ losesMessages: true }) });
  await follower.write("files/a", "typed");
  await until(() => owner.text("files/a") === "typed", "the inbox is read");
});

test("a tab whose messages from the owner were lost reads the journal", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  owner.tab.losesMessages = true;
  await owner.write("files/a", "1");
  await owner.write("files/b", "1");
  owner.tab.losesMessages = false;
  await owner.write("files/c", "1");
  await until(() => follower.keys("files/").length === 3, "all three");
});

test("the owner is closed: another tab goes on at once", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  owner.online = false;
  await owner.write("files/a", "owner's");
  await until(() => follower.online === false, "the switch is the device's");
  await owner.close();
  follower.online = true;
  await follower.write("files/b", "follower's");
  await until(() => follower.status === "synced" && follower.pending().length === 0, "synced");
  const other = await open(host, name);
  await other.sync();
  assert.deepEqual(other.keys("files/"), ["files/a", "files/b"]);
});

test("what was asked of an owner that is closed is done by the next one", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await follower.write("files/a", "1");
  const asked = follower.sync();
  await owner.close();
  await asked;
  assert.equal(follower.status, "synced");
});

test("the owner crashes: what both tabs acknowledged is there", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await synced(owner);
  owner.online = false;
  await owner.write("files/a", "owner's");
  await until(() => follower.online === false, "the switch is the device's");
  owner.tab.freeze();
  await follower.write("files/b", "follower's");
  owner.tab.kill();
  follower.online = true;
  await until(() => follower.status === "synced" && follower.has("files/a"), "synced");
  assert.equal(follower.text("files/a"), "owner's");
  assert.equal(follower.text("files/b"), "follower's");
});

test("a frozen owner is replaced by a visible tab, cannot write when it thaws, and loses nothing", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await synced(owner);
  owner.tab.freeze();
  // Typed in the moment it froze: shown, not acknowledged.
  const late = owner.write("files/late", "typed late");
  await follower.write("files/a", "1");
  await until(() => follower.status === "synced" && follower.pending().length === 0, "taken over", 30_000);
  const other = await open(host, name);
  await other.sync();
  assert.equal(other.text("files/a"), "1");
  owner.tab.thaw();
  await late;
  await until(() => follower.text("files/late") === "typed late", "the late edit");
  await owner.write("files/b", "2");
  await until(() => follower.text("files/b") === "2" && owner.text("files/a") === "1", "agreement");
  await follower.sync();
  assert.deepEqual((await follower.devices()).length, 2);
  assert.equal(owner.deviceId, follower.deviceId);
});

test("an edit of another tab does not win over what that tab had not seen", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  const other = await open(host, name);
  await owner.set("n", 1);
  await owner.set("context_pages/p/title", "t");
  await owner.write("context_pages/p", "old\n");
  await owner.sync();
  await other.sync();
  await until(() => follower.get("n") === 1 && follower.text("context_pages/p") === "old\n", "shown");
  owner.tab.losesMessages = follower.tab.losesMessages = true;
  await follower.set("n", "earlier");
  await follower.remove("context_pages/p");
  await sleep(5);
  await other.set("n", "later");
  await other.write("context_pages/p", "never seen by the follower\n");
  await other.sync();
  owner.tab.signal("visible");
  await until(() => owner.get("n") === "later", "pulled");
  owner.tab.losesMessages = follower.tab.losesMessages = false;
  await follower.set("after", 1);
  await until(() => owner.get("after") === 1, "the inbox");
  await owner.sync().catch(() => undefined);
  await other.sync();
  assert.equal(other.get("n"), "later");
  assert.equal(other.text("context_pages/p"), "never seen by the follower\n");
});

test("sync() in a tab that follows includes what the owner was not told of", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await synced(owner);
  follower.tab.losesMessages = true;
  await follower.write("files/a", "kept");
  follower.tab.losesMessages = false;
  await follower.sync();
  const other = await open(host, name);
  await other.sync();
  assert.equal(other.text("files/a"), "kept");
});

test("an edit that the owner takes over before the tab knows that it is in the inbox", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  await owner.set("n", 0);
  await owner.sync();
  await until(() => follower.get("n") === 0, "shown");
  const { post } = Journal.prototype;
  Journal.prototype.post = async function (edits) {
    const ids = await post.call(this, edits);
    await sleep(300); // a busy main thread
    return ids;
  };
  const done = follower.set("n", 1);
  await sleep(50);
  Journal.prototype.post = post;
  profile.tab().channel([...profile.channels][0].name, () => undefined).post({ type: "inbox" });
  await until(() => owner.get("n") === 1, "taken over");
  await done;
  await synced(owner);
  await owner.set("n", 2);
  await owner.sync();
  await until(() => follower.get("n") === 2 && follower.status === "synced", "agreement", 2_000);
});

test("a hidden tab takes nothing over", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  await owner.sync();
  const follower = await open(host, name, { tab: profile.tab({ isSeen: false }) });
  await synced(follower);
  owner.tab.freeze();
  await follower.write("files/a", "1");
  await sleep(14_000);
  assert.equal(follower.status, "pending");
  owner.tab.thaw();
  await until(() => owner.text("files/a") === "1");
});

test("a conflict is resolved from a tab that follows", async () => {
  const [name, profile] = [user(), new Profile()];
  const owner = await open(host, name, { tab: profile.tab() });
  const follower = await open(host, name, { tab: profile.tab() });
  const other = await open(host, name);
  await follower.write("files/a", "base\n");
  await follower.sync();
  await other.sync();
  follower.online = false;
  await until(() => owner.online === false, "the switch is the device's");
  await follower.write("files/a", "mine\n");
  await other.write("files/a", "theirs\n");
  await other.sync();
  follower.online = true;
  await until(() => follower.conflicts().length === 1 && follower.status === "blocked", "a conflict");
  await follower.resolve(follower.conflicts()[0].id, "mine");
  await until(() => follower.text("files/a") === "mine\n" && follower.conflicts().length === 0);
  await follower.sync();
});

test("without Web Locks a second tab is told that the device is open already", async () => {
  const [name, profile] = [user(), new Profile({ hasLocks: false })];
  const one = await open(host, name, { tab: profile.tab() });
  assert.equal(one.isSingleTab, true);
  await one.write("files/a", "1");
  await assert.rejects(open(host, name, { tab: profile.tab() }), code("open_elsewhere"));
  await one.close();
  const two = await open(host, name, { tab: profile.tab() });
  assert.equal(two.text("files/a"), "1");
});

test("without Web Locks a tab that was frozen when another opened cannot write over it", async () => {
  const [name, profile] = [user(), new Profile({ hasLocks: false })];
  const one = await open(host, name, { tab: profile.tab() });
  await synced(one);
  one.tab.freeze();
  const two = await open(host, name, { tab: profile.tab() });
  await two.write("files/a", "two");
  one.tab.thaw();
  await one.write("files/b", "one");
  await until(() => two.text("files/b") === "one" && one.text("files/a") === "two", "agreement");
});

test("two users of one browser never mix", async () => {
  const profile = new Profile();
  const [one, other] = [await open(host, user(), { tab: profile.tab() }), await open(host, user(), { tab: profile.tab() })];
  await one.write("files/a", "secret");
  await one.sync();
  await other.sync();
  assert.equal(other.has("files/a"), false);
  assert.notEqual(one.deviceId, other.deviceId);
});
