import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Demo, Pane, until } from "./harness/demo.mjs";

let demo;
before(async () => (demo = await Demo.start()));
after(() => demo.stop());
afterEach(() => assert.deepEqual(demo.complaints.splice(0), []));

const BASE = "one\ntwo\nthree\nfour\nfive\nsix\n";

/** Two devices of which the left one's edit of line 2 collides; the right one has edited line 6 as well. */
async function conflicting(options) {
  const user = demo.user();
  await demo.server.put(user, { "w/a.txt": BASE });
  const context = await demo.context(options);
  const page = await demo.open(context, user, { view: "two" });
  const [left, right] = [new Pane(page, "left"), new Pane(page, "right")];
  await left.openFile("a.txt");
  await right.openFile("a.txt");
  await left.switchOffline();
  await left.setLine(2, "two of the left");
  await right.setLine(2, "two of the right");
  await right.setLine(6, "six of the right");
  await right.stands("Synced");
  await left.switchOffline();
  await left.stands("Blocked");
  return { user, context, page, left, right };
}

const openConflict = async (pane) => {
  await pane.rail(/Conflicts/).click();
  await pane.root.getByRole("tab", { name: "a.txt", selected: true }).waitFor();
  await pane.root.locator(".button.mine").waitFor();
};
const isSettled = (pane) => pane.root.locator(".button.mine").waitFor({ state: "detached" });

test("a conflict is shown on both devices, and resolved from the other one hunk by hunk", async () => {
  const { user, context, page, left, right } = await conflicting();
  await right.sync();
  await openConflict(right);
  await right.root.getByText("1 change of this device’s already in, 1 place to decide").waitFor();
  await demo.shot(page, "two-conflict");
  // One change remains beside the shown result: the colliding one. Taken, the result is theirs.
  await right.root.locator(".comparison").getByRole("button", { name: "Take" }).first().click();
  await right.root.getByRole("button", { name: "Save merged" }).click();
  await isSettled(right);
  await left.sync();
  await left.shows("two of the right");
  assert.equal(await demo.server.file(user, "w/a.txt"), "one\ntwo of the right\nthree\nfour\nfive\nsix of the right\n");
  assert.equal((await demo.server.ask(user, "/sync/conflicts")).conflicts.length, 0);
  await context.close();
});

test("a conflict is resolved on its own device by a text that is neither's", async () => {
  const { user, context, page, left, right } = await conflicting();
  await page.getByRole("radio", { name: "One device" }).click();
  await openConflict(left);
  await demo.shot(page, "conflict-light");
  const result = left.root.locator(".comparison .cm-merge-b .cm-content");
  await result.locator(".cm-line").nth(1).click();
  await page.keyboard.press("End");
  await page.keyboard.insertText(" and of the right");
  await left.root.getByRole("radio", { name: "Base" }).click();
  await left.root.getByRole("button", { name: "Save merged" }).click();
  await isSettled(left);
  await left.stands("Synced");
  await left.shows("two of the left and of the right");
  await page.getByRole("radio", { name: "Two devices" }).click();
  await right.sync();
  await right.shows("two of the left and of the right");
  assert.equal(await demo.server.file(user, "w/a.txt"), "one\ntwo of the left and of the right\nthree\nfour\nfive\nsix of the right\n");
  await context.close();
});

test("keep mine and keep theirs do what they say", async () => {
  for (const [button, line] of [["Keep mine", "two of the left"], ["Keep theirs", "two of the right"]]) {
    const { user, context, left } = await conflicting({ colorScheme: "dark" });
    await openConflict(left);
    await left.root.getByRole("button", { name: button }).click();
    await isSettled(left);
    await left.stands("Synced");
    assert.equal((await demo.server.file(user, "w/a.txt")).split("\n")[1], line);
    await context.close();
  }
});

test("theirs that moves on while somebody decides is shown anew, and nothing of it is overwritten unseen", async () => {
  const { user, context, page, left, right } = await conflicting({ colorScheme: "dark" });
  await openConflict(left);
  await demo.server.put(user, { "w/a.txt": BASE.replace("two", "two of the right, again") });
  await left.root.getByRole("button", { name: "Save merged" }).click();
  await left.root.getByText("Theirs has moved on").waitFor();
  await until(async () => (await left.root.locator(".comparison .cm-content").innerText()).includes("two of the right, again"));
  await demo.shot(page, "two-conflict-moved-dark");
  assert.match(await demo.server.file(user, "w/a.txt"), /two of the right, again/);
  await page.waitForTimeout(800);
  await left.root.getByRole("button", { name: "Save merged" }).click();
  await isSettled(left);
  await left.stands("Synced");
  await right.sync();
  await right.shows("two of the left");
  assert.equal(await demo.server.file(user, "w/a.txt"), "one\ntwo of the left\nthree\nfour\nfive\nsix of the right\n");
  await context.close();
});

test("an edit against a removal asks which it is to be", async () => {
  const user = demo.user();
  await demo.server.put(user, { "w/a.txt": BASE });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.openFile("a.txt");
  await pane.switchOffline();
  await pane.setLine(1, "still needed");
  await demo.server.put(user, { "w/a.txt": null });
  await pane.switchOffline();
  await pane.stands("Blocked");
  await openConflict(pane);
  await pane.root.getByText("removed it").waitFor();
  await demo.shot(page, "conflict-removed");
  await pane.root.getByRole("button", { name: "Keep mine" }).click();
  await isSettled(pane);
  await pane.stands("Synced");
  await pane.shows("still needed");
  assert.equal(await demo.server.file(user, "w/a.txt"), BASE.replace("one", "still needed"));
  await context.close();
});

test("binary sides are told apart by size and hash", async () => {
  const user = demo.user();
  const [base, mine, theirs] = [[0, 1], [0, 1, 2], [0, 1, 2, 3]].map((bytes) => new Uint8Array(bytes));
  await demo.server.put(user, { "w/a.txt": base }, "desktop-one");
  const { seq } = await demo.server.state(user);
  await demo.server.put(user, { "w/a.txt": theirs }, "desktop-two");
  const content = (bytes) => ({ content_base64: Buffer.from(bytes).toString("base64") });
  await demo.server.ask(user, "/sync/push", { device_id: "desktop-one", seq, state: { files: { "w/a.txt": content(mine) } } });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await openConflict(pane);
  await pane.root.getByText("Not text: one of them stays").waitFor();
  await pane.root.locator(".side.mine").getByText("3 B").waitFor();
  await demo.shot(page, "conflict-binary");
  await pane.root.getByRole("button", { name: "Keep desktop-one’s" }).click();
  await isSettled(pane);
  const { files } = (await demo.server.state(user)).state;
  assert.equal(files["w/a.txt"].size, 3);
  await context.close();
});
