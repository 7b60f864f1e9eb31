import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Demo, Pane, until } from "./harness/demo.mjs";

let demo;
before(async () => (demo = await Demo.start()));
after(() => demo.stop());
afterEach(() => assert.deepEqual(demo.complaints.splice(0), []));

async function twoDevices(text) {
  const user = demo.user();
  await demo.server.put(user, { "w/a.txt": text });
  const context = await demo.context();
  const page = await demo.open(context, user, { view: "two" });
  const [left, right] = [new Pane(page, "left"), new Pane(page, "right")];
  await left.openFile("a.txt");
  await right.openFile("a.txt");
  return { user, context, page, left, right };
}

test("what is typed on either device is soon on the other, and on the server", async () => {
  const { user, context, left, right } = await twoDevices("one\ntwo\nthree\n");
  await left.setLine(1, "one from the left");
  await left.stands("Synced");
  await right.sync();
  await right.shows("one from the left");
  await right.setLine(3, "three from the right");
  await right.stands("Synced");
  await left.sync();
  await left.shows("three from the right");
  assert.equal(await demo.server.file(user, "w/a.txt"), "one from the left\ntwo\nthree from the right\n");
  await context.close();
});

test("edits of two devices that were offline merge line by line", async () => {
  const { user, context, page, left, right } = await twoDevices("one\ntwo\nthree\nfour\nfive\n");
  await left.switchOffline();
  await right.switchOffline();
  await left.setLine(1, "ONE");
  await right.setLine(5, "FIVE");
  await left.stands("Offline");
  await demo.shot(page, "two-offline");
  await left.switchOffline();
  await left.stands("Synced");
  await right.switchOffline();
  await right.stands("Synced");
  await right.shows("ONE");
  await left.sync();
  await left.shows("FIVE");
  assert.equal(await demo.server.file(user, "w/a.txt"), "ONE\ntwo\nthree\nfour\nFIVE\n");
  await right.root.getByText("Merged").first().waitFor();
  await context.close();
});

test("a change from elsewhere leaves the cursor and one's own undo alone", async () => {
  const { user, context, page, left } = await twoDevices("one\ntwo\nthree\nfour\nfive\n");
  await left.setLine(5, "my own");
  await left.stands("Synced");
  await left.editor.locator(".cm-line", { hasText: "my own" }).click();
  await page.keyboard.press("End");
  await demo.server.put(user, { "w/a.txt": "one, and longer\nand another line\ntwo\nthree\nfour\nmy own\n" });
  await left.shows("and another line");
  await page.keyboard.insertText("!");
  assert.deepEqual((await left.lines()).slice(-2), ["my own!", ""], "the cursor stayed where it was");
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  await until(async () => (await left.lines())[5] === "five", async () => `undone: ${JSON.stringify(await left.lines())}`);
  assert.equal((await left.lines())[0], "one, and longer", "undo takes back one's own only");
  await context.close();
});

test("line ends and a byte order mark stay as they were, byte for byte", async () => {
  const user = demo.user();
  const files = { "w/crlf.txt": "\uFEFFone\r\ntwo\r\nthree\r\n", "w/mixed.txt": "one\ntwo\r\nthree\rfour\nfive\n" };
  await demo.server.put(user, files);
  const context = await demo.context();
  const pane = new Pane(await demo.open(context, user));
  await pane.openFile("crlf.txt");
  await pane.root.getByText("UTF-8 BOM · CRLF").waitFor();
  await pane.setLine(2, "TWO\nand a half");
  await pane.openFile("mixed.txt");
  await pane.root.getByText("UTF-8 · mixed").waitFor();
  await pane.setLine(5, "FIVE");
  await pane.stands("Synced");
  assert.equal(await demo.server.file(user, "w/crlf.txt"), "\uFEFFone\r\nTWO\r\nand a half\r\nthree\r\n");
  assert.equal(await demo.server.file(user, "w/mixed.txt"), "one\ntwo\r\nthree\rfour\nFIVE\n");

  await demo.server.put(user, { "w/crlf.txt": "\uFEFFzero\r\none\r\nTWO\r\nand a half\r\nthree\r\n" });
  await pane.openFile("crlf.txt");
  await pane.sync();
  await pane.shows("zero");
  await pane.setLine(5, "3");
  await pane.stands("Synced");
  assert.equal(await demo.server.file(user, "w/crlf.txt"), "\uFEFFzero\r\none\r\nTWO\r\nand a half\r\n3\r\n");
  await context.close();
});

test("a folder is renamed, and what is open of it stays open", async () => {
  const user = demo.user();
  await demo.server.put(user, { "w/a/one.txt": "1\n", "w/a/two.txt": "2\r\n", "w/b.txt": "3\n" });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.openFile("two.txt");
  await pane.root.getByRole("treeitem", { name: "a", exact: true }).focus();
  await page.keyboard.press("F2");
  await pane.root.locator(".name-field").fill("w/moved");
  await page.keyboard.press("Enter");
  await pane.root.getByRole("treeitem", { name: "moved" }).waitFor();
  await pane.root.getByRole("tab", { name: "two.txt", selected: true }).waitFor();
  await pane.setLine(1, "two");
  await pane.stands("Synced");
  const { files } = (await demo.server.state(user)).state;
  assert.deepEqual(Object.keys(files).sort(), ["w/b.txt", "w/moved/one.txt", "w/moved/two.txt"]);
  assert.equal(files["w/moved/two.txt"].content, "two\r\n");
  await context.close();
});

test("files are made, moved and removed; a binary one is shown by size and hash", async () => {
  const user = demo.user();
  await demo.server.put(user, { "w/logo.bin": new Uint8Array([0, 1, 2, 255]) });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.makeFile("w/src/new.rs", "fn main() {}\n");
  await pane.root.getByRole("treeitem", { name: /^new.rs/ }).focus();
  await page.keyboard.press("F2");
  await pane.root.locator(".name-field").fill("w/src/main.rs");
  await page.keyboard.press("Enter");
  await pane.root.getByRole("tab", { name: "main.rs", selected: true }).waitFor();
  await pane.stands("Synced");
  const { files } = (await demo.server.state(user)).state;
  assert.deepEqual(Object.keys(files).sort(), ["w/logo.bin", "w/src/main.rs"]);
  assert.equal(files["w/src/main.rs"].content, "fn main() {}\n");

  await pane.openFile("logo.bin");
  await pane.root.getByText("4 B · SHA-256").waitFor();
  await demo.server.put(user, { "w/logo.bin": "text by now\n" });
  await pane.sync();
  await pane.shows("text by now");
  await demo.server.put(user, { "w/logo.bin": new Uint8Array([0, 1]) });
  await pane.sync();
  await pane.root.getByText("2 B · SHA-256").waitFor();
  await pane.root.getByRole("treeitem", { name: /^logo.bin/ }).focus();
  await page.keyboard.press("Delete");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await pane.root.getByRole("tab", { name: "logo.bin" }).waitFor({ state: "detached" });
  await pane.stands("Synced");
  assert.deepEqual(Object.keys((await demo.server.state(user)).state.files), ["w/src/main.rs"]);
  await context.close();
});
