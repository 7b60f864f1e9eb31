import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Demo, Pane } from "./harness/demo.mjs";

let demo;
before(async () => (demo = await Demo.start({ PLUGIN_SYNC_MAX_FILE_SIZE_KB: "2" })));
after(() => demo.stop());
afterEach(() => assert.deepEqual(demo.complaints.splice(0), []));

test("an empty account offers a sample project, which is then on both devices", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.stands("Synced");
  await demo.shot(page, "empty-light");
  await pane.root.getByRole("button", { name: "Start with a sample project" }).click();
  await pane.shows("PERIOD_HOURS");
  await pane.stands("Synced");
  await demo.shot(page, "one-light");
  await page.getByRole("radio", { name: "Two devices" }).click();
  const right = new Pane(page, "right");
  await right.shows("PERIOD_HOURS");
  await demo.shot(page, "two-light");
  await page.getByRole("button", { name: /^Colours/ }).click();
  await page.getByRole("button", { name: "Colours: light" }).click();
  await page.getByRole("button", { name: "Colours: dark" }).waitFor();
  await demo.shot(page, "two-dark");
  await page.setViewportSize({ width: 700, height: 900 });
  await demo.shot(page, "narrow-dark");
  await context.close();
});

test("variables are sealed here: another device opens them, a wrong passphrase does not, the server has neither name nor value", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user, { view: "two" });
  const [left, right] = [new Pane(page, "left"), new Pane(page, "right")];
  await left.rail("Environment variables").click();
  await left.root.getByLabel("Passphrase").fill("open sesame");
  await page.keyboard.press("Enter");
  await left.root.getByLabel("Name").fill("API_KEY");
  await left.root.getByLabel("Value of").fill("value-4711");
  await left.root.getByRole("button", { name: "Seal and save" }).click();
  await left.root.getByRole("button", { name: "Sealed and saved" }).waitFor();
  await left.stands("Synced");

  await right.sync();
  await right.rail("Environment variables").click();
  await right.root.getByLabel("Passphrase").fill("open says me");
  await page.keyboard.press("Enter");
  await right.root.getByText("This passphrase does not open them.").waitFor();
  await right.root.getByLabel("Passphrase").fill("open sesame");
  await page.keyboard.press("Enter");
  await right.root.getByLabel("Name").waitFor();
  assert.equal(await right.root.getByLabel("Value of API_KEY").inputValue(), "value-4711");
  await demo.shot(page, "variables");
  const stored = JSON.stringify(await demo.server.state(user));
  assert.match(stored, /argon2id/);
  assert.doesNotMatch(stored, /API_KEY|value-4711|open sesame/);
  await context.close();
});

test("sessions are made, renamed and ended; a page is written; the other device sees it", async () => {
  const user = demo.user();
  const context = await demo.context();
  const page = await demo.open(context, user, { view: "two" });
  const [left, right] = [new Pane(page, "left"), new Pane(page, "right")];
  await left.root.getByRole("button", { name: "New session" }).click();
  await page.keyboard.type("Fix the login");
  await page.keyboard.press("Enter");
  await left.root.getByRole("button", { name: "Fix the login running" }).focus();
  await page.keyboard.press("F2");
  await page.keyboard.type("Fix the sign-in");
  await page.keyboard.press("Enter");
  await left.root.getByRole("button", { name: "New context page" }).click();
  await page.keyboard.type("Plan");
  await page.keyboard.press("Enter");
  await left.shows("# Plan");
  await left.stands("Synced");
  await right.sync();
  await right.root.getByRole("button", { name: "Plan" }).first().click();
  await right.shows("# Plan");
  await right.root.getByText("Fix the sign-in").hover();
  await right.root.getByRole("button", { name: "End Fix the sign-in" }).click();
  await right.stands("Synced");
  await left.sync();
  await left.root.getByRole("button", { name: "Fix the sign-in ended" }).waitFor();
  await context.close();
});

test("versions are listed, compared and restored", async () => {
  const user = demo.user();
  await demo.server.put(user, { "w/a.txt": "first\n" });
  await demo.server.put(user, { "w/a.txt": "second\n" });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.openFile("a.txt");
  await pane.root.getByRole("tab", { name: "Versions" }).click();
  const oldest = pane.root.getByRole("listitem").filter({ hasText: "pushed" }).last();
  await oldest.getByRole("button", { name: "Compare" }).click();
  await pane.root.locator(".comparison .cm-merge-a").getByText("first").waitFor();
  await demo.shot(page, "version");
  await oldest.getByRole("button", { name: "Restore" }).click();
  await page.keyboard.press("Alt+w");
  await pane.shows("first");
  await pane.stands("Synced");
  assert.equal(await demo.server.file(user, "w/a.txt"), "first\n");
  await context.close();
});

test("all of it works from the keyboard", async () => {
  const user = demo.user();
  const context = await demo.context({ colorScheme: "dark" });
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.stands("Synced");
  const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
  const name = async (path) => {
    await pane.root.locator(".name-field").waitFor();
    // It begins with the folder of what is open.
    await press("Control+a");
    await page.keyboard.type(path);
    await press("Enter");
  };
  await page.locator("body").press("Alt+n");
  await name("w/src/main.rs");
  await pane.root.getByRole("tab", { name: "main.rs", selected: true }).waitFor();
  await page.keyboard.type("fn main() {");
  await pane.shows("fn main() {}");
  await press("Alt+n");
  await name("w/notes.md");
  await pane.root.getByRole("tab", { name: "notes.md", selected: true }).waitFor();
  await page.keyboard.type("# Notes");
  await press("Alt+1");
  await pane.shows("fn main() {}");
  await press("Control+p");
  await page.keyboard.type("notes");
  await demo.shot(page, "quick-open-dark");
  await press("Enter");
  await pane.shows("# Notes");
  await press("Alt+o");
  await pane.stands("Offline");
  await press("Alt+o", "Control+s");
  await pane.stands("Synced");
  await press("F1");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await demo.shot(page, "help-dark");
  await press("Escape");
  // From the editor round the areas, back into the tree: up to main.rs, and away with it.
  await press("F6", "F6", "F6");
  await pane.root.getByRole("treeitem", { name: /^notes.md/ }).and(page.locator(":focus")).waitFor();
  await press("ArrowUp");
  await pane.root.getByRole("treeitem", { name: /^main.rs/ }).and(page.locator(":focus")).waitFor();
  await press("Delete", "Enter");
  await pane.root.getByRole("treeitem", { name: /^main.rs/ }).waitFor({ state: "detached" });
  await press("Control+s");
  await pane.stands("Synced");
  assert.deepEqual(Object.keys((await demo.server.state(user)).state.files), ["w/notes.md"]);
  await context.close();
});

test("what the server does not take stays, is told of, and can be taken back", async () => {
  const user = demo.user();
  await demo.server.put(user, { "w/a.txt": "small\n" });
  const context = await demo.context();
  const page = await demo.open(context, user);
  const pane = new Pane(page);
  await pane.openFile("a.txt");
  await pane.setLine(1, "large ".repeat(500));
  await pane.root.getByRole("button", { name: "1 not taken" }).click();
  await pane.root.getByText("Not taken: file too large").waitFor();
  await demo.shot(page, "problem");
  await page.reload();
  await pane.root.getByRole("tab", { name: "Problems 1" }).click();
  await pane.shows("large large");
  await pane.root.getByRole("button", { name: "Take back" }).click();
  await pane.shows("small");
  await pane.root.getByText("No problems.").waitFor();
  await pane.stands("Synced");
  await context.close();
});

test("every control has a name", async () => {
  const context = await demo.context();
  const page = await demo.open(context, demo.user(), { view: "two" });
  const pane = new Pane(page);
  await pane.root.getByRole("button", { name: "Start with a sample project" }).click();
  await pane.shows("PERIOD_HOURS");
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, textarea, [role=tab], [role=treeitem]")]
      .filter((el) => !(el.getAttribute("aria-label") || el.textContent.trim() || el.closest("label")))
      .map((el) => el.outerHTML.slice(0, 120)));
  assert.deepEqual(nameless, []);
  await context.close();
});
