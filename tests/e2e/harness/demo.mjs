import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Edge } from "./edge.mjs";
import { jwt } from "./host.mjs";
import { Server } from "./server.mjs";
import { serveSite } from "./site.mjs";

/** What the pages sync with: the native server, or what NSELF_SYNC_E2E_HOST names. */
const HOSTS = { native: Server, edge: Edge };
const HOST = process.env.NSELF_SYNC_E2E_HOST ?? "native";
if (!Object.hasOwn(HOSTS, HOST)) throw new Error(`NSELF_SYNC_E2E_HOST=${HOST}: allowed are ${Object.keys(HOSTS).join(", ")}`);

const SHOTS = new URL(`../../../target/e2e/${HOST}`, import.meta.url).pathname;
const EXPECTED = /sync\/live|devices\/[^/]+\/token|ERR_CONNECTION_REFUSED|ERR_INTERNET_DISCONNECTED|status of (401|403|409)/;
export const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A host, a browser and the built page, for one test file. */
export class Demo {
  #users = 0;

  static async start(vars) {
    const demo = new Demo();
    mkdirSync(SHOTS, { recursive: true });
    demo.server = await HOSTS[HOST].start(vars);
    demo.site = await serveSite();
    demo.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
    /** What the pages complained of, and nobody expected. */
    demo.complaints = [];
    return demo;
  }

  async stop() {
    await this.browser.close();
    this.site.stop();
    await this.server.stop();
  }

  /** A user of one's own: the server is shared by the tests of a file. */
  user() {
    this.#users += 1;
    return `user-${this.#users}`;
  }

  /** A browser profile of its own. */
  context(options = {}) {
    return this.browser.newContext({ viewport: { width: 1360, height: 850 }, reducedMotion: "reduce", ...options });
  }

  /** Opens the page in a tab of the profile. */
  async open(context, user, { view = "one", token = jwt(user) } = {}) {
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => this.complaints.push(`${error.message}\n${error.stack}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !EXPECTED.test(`${message.text()} ${message.location().url}`)) this.complaints.push(`${message.text()} ${message.location().url}`);
    });
    await page.goto(`${this.site.url}#token=${token}&user=${user}&view=${view}&url=${encodeURIComponent(this.server.url)}`);
    await page.locator(".pane.left .bar .state").waitFor();
    if (view === "two") await page.locator(".pane.right .bar .state").waitFor();
    return page;
  }

  shot(page, name) {
    return page.screenshot({ path: join(SHOTS, `${name}.png`), caret: "initial" });
  }
}

/** One device's half of the page, as a person uses it. */
export class Pane {
  constructor(page, side = "left") {
    this.page = page;
    this.root = page.locator(`.pane.${side}`);
    this.editor = this.root.locator(".text-editor .cm-content");
    this.state = this.root.locator(".bar .state");
  }

  async deviceId() {
    return (await this.root.locator(".bar .device-id").getAttribute("title")).replace("This device: ", "");
  }

  async makeFile(path, text) {
    await this.root.getByRole("button", { name: "New file", exact: true }).first().click();
    await this.root.locator(".name-field").fill(path);
    await this.page.keyboard.press("Enter");
    await this.root.getByRole("tab", { name: path.split("/").at(-1), selected: true }).waitFor();
    await this.editor.click();
    await this.page.keyboard.insertText(text);
  }

  async openFile(name) {
    await this.root.getByRole("treeitem", { name: new RegExp(`^${name}\\b`) }).click();
    await this.root.getByRole("tab", { name, selected: true }).waitFor();
  }

  /** Replaces a line's text, by its number from 1. */
  async setLine(number, text) {
    await this.editor.locator(".cm-line").nth(number - 1).click();
    await this.page.keyboard.press("Home");
    await this.page.keyboard.press("Shift+End");
    await this.page.keyboard.insertText(text);
  }

  async lines() {
    return this.editor.locator(".cm-line").allInnerTexts().then((lines) => lines.map((line) => line.replace(/\n$/, "")));
  }

  async text() {
    return (await this.lines()).join("\n");
  }

  /** Waits until the editor shows it. */
  async shows(text) {
    await until(async () => (await this.text()).includes(text), async () => `the editor shows ${JSON.stringify(await this.text())}, not ${JSON.stringify(text)}`);
  }

  async switchOffline() {
    await this.root.getByRole("switch", { name: "Offline" }).click();
  }

  async stands(status) {
    await until(async () => (await this.state.innerText()).startsWith(status), async () => `it is ${await this.state.innerText()}, not ${status}`);
  }

  /** Pushes and pulls now, and waits for it. */
  async sync() {
    await this.state.click();
    await this.stands("Synced");
  }

  rail(name) {
    return this.root.locator(".rail").getByRole("button", { name });
  }
}

export async function until(condition, says = () => "it did not come", timeout_ms = 20_000) {
  const deadline = Date.now() + timeout_ms;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(await says());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
