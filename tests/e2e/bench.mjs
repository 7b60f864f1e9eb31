// What the package and the page cost in a real Chromium; JSON on stdout. `cargo xtask bench wasm` has the aims.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { ARGS, Pane } from "./harness/demo.mjs";
import { jwt } from "./harness/host.mjs";
import { Server } from "./harness/server.mjs";
import { PACKAGE, serveSite } from "./harness/site.mjs";

const AIMS = { init_to_first_edit_warm_ms: 50, keystroke_512kb_ms: 8, merge_512kb_100_edits_ms: 50, open_10000_files_ms: 1000 };
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: [...ARGS, "--enable-precise-memory-info", "--js-flags=--expose-gc"] });
const site = await serveSite(PACKAGE);
const demo = await serveSite();
const server = await Server.start();
try {
  const figures = {
    ...(await initToFirstEdit()),
    ...(await merging()),
    ...(await manyFiles()),
    ...(await memory()),
    ...(await keystrokes()),
  };
  console.log(JSON.stringify({ chromium: browser.version(), figures, aims: AIMS }, null, 2));
} finally {
  await browser.close();
  site.stop();
  demo.stop();
  await server.stop();
}

/** From `init()` to an edit that is shown, and to one that is on the disk; the second visit of a browser. */
async function initToFirstEdit() {
  const context = await browser.newContext();
  const visit = () =>
    inPage(context, async () => {
      const { init, SyncClient } = await import("/index.js");
      const began = performance.now();
      await init();
      const inited = performance.now();
      const client = await SyncClient.open({ url: location.origin, user: "bench", token: () => Promise.reject(new Error("none")) });
      const durable = client.write("files/a.txt", `at ${began}`);
      const shown = performance.now();
      await durable;
      const kept = performance.now();
      await client.close();
      return { init: inited - began, shown: shown - began, kept: kept - began };
    });
  const cold = await visit();
  const warm = [];
  for (let round = 0; round < 9; round += 1) warm.push(await visit());
  await context.close();
  return {
    init_to_first_edit_cold_ms: round1(cold.shown),
    init_warm_ms: median(warm.map(({ init }) => init)),
    init_to_first_edit_warm_ms: median(warm.map(({ shown }) => shown)),
    init_to_first_durable_edit_warm_ms: median(warm.map(({ kept }) => kept)),
  };
}

async function merging() {
  const context = await browser.newContext();
  const times = await inPage(context, async () => {
    const { init, merge } = await import("/index.js");
    await init();
    const lines = Array.from({ length: 13_500 }, (_, at) => `line ${at} of a file that is as long as may be`);
    // Every hundredth line or so, the two sides' far enough apart to merge.
    const edited = (first, word) => lines.map((line, at) => (at % 135 === first ? `${line} ${word}` : line)).join("\n");
    const bytes = [lines.join("\n"), edited(10, "mine"), edited(70, "theirs")].map((text) => new TextEncoder().encode(text));
    const times = [];
    for (let round = 0; round < 25; round += 1) {
      const began = performance.now();
      const merged = merge(...bytes);
      times.push(performance.now() - began);
      if (merged === undefined || merged.length < bytes[0].length) throw new Error("they do not merge");
    }
    return { times, size: bytes[0].length };
  });
  await context.close();
  return { merge_size_kb: Math.round(times.size / 1024), merge_512kb_100_edits_ms: median(times.times) };
}

/** 10,000 files of 1 KB, in the browser's database already. */
async function manyFiles() {
  const context = await browser.newContext();
  const began = performance.now();
  await inPage(context, fill, { count: 10_000, size: 1_000 });
  const wrote = performance.now() - began;
  const opened = [];
  for (let round = 0; round < 5; round += 1) {
    opened.push(await inPage(context, async () => {
      const { init, SyncClient } = await import("/index.js");
      await init();
      const began = performance.now();
      const client = await SyncClient.open({ url: location.origin, user: "bench", token: () => Promise.reject(new Error("none")) });
      const count = client.keys("files/").length;
      const took = performance.now() - began;
      await client.close();
      if (count !== 10_000) throw new Error(`${count} files`);
      return took;
    }));
  }
  await context.close();
  return { write_10000_files_ms: Math.round(wrote), open_10000_files_ms: median(opened) };
}

/** The page's process with 1,000 files of 10 KB open in a client, against one with an empty client. */
async function memory() {
  const resident = async (count) => {
    const context = await browser.newContext();
    if (count > 0) await inPage(context, fill, { count, size: 10_240 });
    const page = await context.newPage();
    await page.goto(site.url);
    await page.evaluate(async () => {
      const { init, SyncClient } = await import("/index.js");
      await init();
      globalThis.client = await SyncClient.open({ url: location.origin, user: "bench", token: () => Promise.reject(new Error("none")) });
    });
    await page.waitForTimeout(500);
    await page.evaluate(() => globalThis.gc?.());
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    const sizes = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => residentKb(id));
    await context.close();
    return Math.max(...sizes);
  };
  const empty = await resident(0);
  const full = await resident(1_000);
  return { memory_empty_mb: round1(empty / 1024), memory_1000_files_10kb_mb: round1(full / 1024), memory_added_mb: round1((full - empty) / 1024) };
}

/** Keys typed into a 512 KB file in the demo: the call into the client, and all that the main thread does for one. */
async function keystrokes() {
  const user = "typist";
  const line = "let value = compute(4711, \"a line of a long file\");\n";
  await server.put(user, { "w/long.txt": line.repeat(Math.floor(511 * 1024 / line.length)) });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${demo.url}#token=${jwt(user)}&user=${user}&url=${encodeURIComponent(server.url)}`);
  const pane = new Pane(page);
  await pane.stands("Synced");
  await pane.openFile("long.txt");
  await pane.editor.locator(".cm-line").first().click();
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable");
  const metric = async (name) => (await session.send("Performance.getMetrics")).metrics.find((one) => one.name === name).value * 1000;
  await page.evaluate(() => {
    globalThis.events = [];
    new PerformanceObserver((list) => globalThis.events.push(...list.getEntries().map(({ name, processingStart, processingEnd }) => ({ name, took: processingEnd - processingStart })))).observe({ type: "event", durationThreshold: 16 });
  });
  const KEYS = 60;
  await page.keyboard.type("warm up ", { delay: 120 });
  const [task, script] = [await metric("TaskDuration"), await metric("ScriptDuration")];
  await page.keyboard.type("x".repeat(KEYS), { delay: 120 });
  await page.waitForTimeout(300);
  const perKey = (before, after) => round1((after - before) / KEYS);
  const result = { keystroke_512kb_task_ms: perKey(task, await metric("TaskDuration")), keystroke_512kb_script_ms: perKey(script, await metric("ScriptDuration")) };
  await context.close();
  return { ...(await writes()), ...result };
}

/** The call alone: what a keystroke costs before the editor goes on. */
async function writes() {
  const context = await browser.newContext();
  const times = await inPage(context, async () => {
    const { init, SyncClient } = await import("/index.js");
    await init();
    const client = await SyncClient.open({ url: location.origin, user: "bench", token: () => Promise.reject(new Error("none")) });
    const line = "let value = compute(4711, \"a line of a long file\");\n";
    let text = line.repeat(Math.floor((511 * 1024) / line.length));
    await client.write("files/long.txt", text);
    const times = [];
    for (let key = 0; key < 60; key += 1) {
      const at = 200_000 + key;
      text = `${text.slice(0, at)}x${text.slice(at)}`;
      const began = performance.now();
      const durable = client.write("files/long.txt", text);
      times.push(performance.now() - began);
      await durable;
    }
    await client.close();
    return times;
  });
  await context.close();
  return { keystroke_512kb_ms: median(times), keystroke_512kb_worst_ms: round1(Math.max(...times)) };
}

async function fill({ count, size }) {
  const { init, SyncClient } = await import("/index.js");
  await init();
  const client = await SyncClient.open({ url: location.origin, user: "bench", token: () => Promise.reject(new Error("none")) });
  const line = "a line of one of very many files\n";
  const kept = Array.from({ length: count }, (_, at) => client.write(`files/w/d${at % 100}/f${at}.txt`, `${at}\n${line.repeat(Math.ceil(size / line.length))}`.slice(0, size)));
  await Promise.all(kept);
  await client.close();
}

async function inPage(context, run, argument) {
  const page = await context.newPage();
  try {
    await page.goto(site.url);
    return await page.evaluate(run, argument);
  } finally {
    await page.close();
  }
}

function residentKb(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

function round1(value) {
  return Math.round(value * 10) / 10;
}

function median(values) {
  return round1([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]);
}
