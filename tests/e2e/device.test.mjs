import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Demo, Pane, until } from "./harness/demo.mjs";
import { jwt } from "./harness/host.mjs";

let demo;
before(async () => (demo = await Demo.start()));
after(() => demo.stop());
afterEach(() => assert.deepEqual(demo.complaints.splice(0), []));

test("a tab closed in mid-edit, offline, has everything when it is opened again", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.makeFile("w/a.txt", "kept\n");
  await pane.stands("Synced");
  await pane.switchOffline();
  const device = await pane.deviceId();
  await pane.editor.click();
  for (let line = 0; line < 20; line += 1) await page.keyboard.insertText(`line ${line}\n`);
  // Longer than the browser's disk takes for the last key.
  await page.waitForTimeout(250);
  await page.close();

  const again = new Pane(await demo.open(context, user));
  await again.shows("line 19");
  assert.equal(await again.deviceId(), device);
  await again.stands("Synced");
  assert.match(await demo.server.file(user, "w/a.txt"), /line 0\nline 1\n[^]*line 19\n/);
  await context.close();
});

test("two tabs of one device are one device, and either may be closed", async () => {
  const user = demo.user();
  const context = await demo.context();
  const first = new Pane(await demo.open(context, user));
  await first.makeFile("w/a.txt", "one\ntwo\nthree\n");
  await first.stands("Synced");
  const second = new Pane(await demo.open(context, user));
  await second.shows("three");
  assert.equal(await second.deviceId(), await first.deviceId());
  await second.setLine(3, "three of the second tab");
  await first.shows("three of the second tab");
  await first.setLine(1, "one of the first tab");
  await second.shows("one of the first tab");
  await second.stands("Synced");
  assert.equal((await demo.server.ask(user, "/sync/devices")).devices.length, 1);

  await first.page.close();
  await second.setLine(2, "two, alone");
  await second.sync();
  assert.equal(await demo.server.file(user, "w/a.txt"), "one of the first tab\ntwo, alone\nthree of the second tab\n");
  await context.close();
});

test("a removed device is signed out, keeps its edits, and registers anew", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user, { view: "two" });
  const [left, right] = [new Pane(page, "left"), new Pane(page, "right")];
  await left.makeFile("w/a.txt", "one\n");
  await left.stands("Synced");
  await right.sync();
  const before = await right.deviceId();
  await left.rail("Devices").click();
  const card = left.root.locator(".card", { hasNot: page.getByText("this device") });
  await card.waitFor();
  await demo.shot(page, "two-devices-list");
  await card.getByRole("button", { name: /^Remove/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await card.waitFor({ state: "detached" });

  await right.openFile("a.txt");
  await right.setLine(1, "one, and not lost");
  await right.stands("Signed out");
  await right.root.getByRole("button", { name: "Sign in" }).click();
  await right.stands("Synced");
  assert.notEqual(await right.deviceId(), before);
  assert.equal(await demo.server.file(user, "w/a.txt"), "one, and not lost\n");
  await context.close();
});

test("an expired token is asked for anew, and the work waits meanwhile", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user, { token: jwt(user, -60) });
  const pane = new Pane(page);
  await page.getByRole("dialog").getByRole("button", { name: "Later" }).click();
  await pane.makeFile("w/a.txt", "written while signed out\n");
  await pane.stands("Signed out");
  await pane.root.getByRole("button", { name: "Sign in" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox").fill("not a token");
  await dialog.getByRole("button", { name: "Sign in" }).click();
  assert.equal(await dialog.isVisible(), true);
  await demo.shot(page, "sign-in");
  await dialog.getByRole("textbox").fill(jwt(user));
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await pane.stands("Synced");
  assert.equal(await demo.server.file(user, "w/a.txt"), "written while signed out\n");
  await context.close();
});

test("the token does not stay in the address bar", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user);
  assert.equal(new URL(page.url()).hash, "");
  await page.reload();
  await new Pane(page).stands("Synced");
  await context.close();
});

test("a server that is killed is missed, and found again", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.makeFile("w/a.txt", "before\n");
  await pane.stands("Synced");
  await demo.server.kill();
  await pane.setLine(1, "while it was away");
  await pane.stands("Offline · 1 pending");
  await demo.shot(page, "offline");
  await demo.server.restart();
  await pane.state.click();
  await pane.stands("Synced");
  assert.equal(await demo.server.file(user, "w/a.txt"), "while it was away\n");
  await until(async () => (await pane.root.getByText("Did not get through").count()) > 0);
  await context.close();
});
