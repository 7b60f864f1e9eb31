// What comes in that should not: from the caller, the network, the clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { code, heard, open, Profile, server, sleep, synced, until, user } from "./client/world.mjs";

const host = await server();
const offline = () => new Profile().tab({ isOnlineNow: false });

test("values that JSON cannot carry are repaired and told, or refused with their path", async () => {
  const client = await open(host, user(), { tab: offline() });
  await client.set("ui", { a: undefined, b: new Date(0), c: 10n, d: "\ud800x", e: [-0] });
  assert.deepEqual(client.get("ui"), { b: "1970-01-01T00:00:00.000Z", c: 10, d: "\ufffdx", e: [0] });
  assert.deepEqual(heard(client, "repaired")[0].repairs.map(({ path }) => path), ["a", "b", "c", "d", "e[0]"]);
  const cyclic = { a: {} };
  cyclic.a.b = [cyclic];
  const refused = [
    [{ a: { b: NaN } }, "a.b is NaN"],
    [{ a: [1, Infinity] }, "a[1] is Infinity"],
    [[undefined], "[0] is undefined"],
    [undefined, "the value is undefined"],
    [{ a: new Map() }, "a is a Map"],
    [{ a: () => 1 }, "a is function"],
    [2n ** 64n, "the value is a BigInt"],
    [new Uint8Array(1), "the value is a Uint8Array"],
    [cyclic, "a.b[0] contains itself"],
    [{ a: new Date(NaN) }, "a is an invalid Date"],
  ];
  for (const [value, message] of refused) {
    await assert.rejects(client.set("ui", value), (error) => {
      assert.equal(error.code, "invalid_value");
      assert.ok(error.message.startsWith(message), error.message);
      return true;
    });
  }
  let deep = 1;
  for (let depth = 0; depth < 200; depth += 1) deep = [deep];
  await assert.rejects(client.set("ui", deep), code("invalid_value"));
  await assert.rejects(client.set("ui", JSON.parse('{"__proto__": 1}')), code("invalid_value"));
  await client.set("ui", { constructor: 2 });
  assert.deepEqual(client.get("ui"), { constructor: 2 });
});

test("text that UTF-8 cannot carry is repaired and told", async () => {
  const client = await open(host, user(), { tab: offline() });
  await client.write("files/a", "a\udc00b\u{1F600}");
  assert.equal(client.text("files/a"), "a\ufffdb\u{1F600}");
  assert.equal(heard(client, "repaired")[0].key, "files/a");
});

test("keys and paths that cannot be are refused, and nothing changes", async () => {
  const client = await open(host, user(), { tab: offline() });
  await assert.rejects(client.write("files/../a", "a"), code("invalid_path"));
  await assert.rejects(client.write("files/a\\b", "a"), code("invalid_path"));
  await assert.rejects(client.write("nothing", "a"), code("invalid_key"));
  await assert.rejects(client.set("sessions/s1", {}), code("invalid_key"));
  await assert.rejects(client.set("env", { A: "1" }), code("plaintext_env"));
  assert.deepEqual(client.keys(), []);
});

test("secrets, version control and dependencies are left out unless the caller says otherwise", async () => {
  const client = await open(host, user(), { tab: offline() });
  for (const path of ["web/.env", ".env.local", "web/.git/config", "web/node_modules/a/b.js", "py/__pycache__/a.pyc"]) {
    await assert.rejects(client.write(`files/${path}`, "a"), code("ignored"));
  }
  await client.write("files/rust/target/notes.md", "a folder that may well be one's own");
  await client.write("files/.gitignore", "a");
  const other = await open(host, user(), { tab: offline(), ignore: (path) => path.endsWith(".log") });
  await other.write("files/web/.env", "A=1");
  await assert.rejects(other.write("files/a.log", "a"), code("ignored"));
});

test("files whose names differ only in case or Unicode form are told", async () => {
  const client = await open(host, user(), { tab: offline() });
  await client.write("files/Read\u0301me.md", "a");
  await client.write("files/READM\u00c9.md", "a");
  await client.write("files/Readme.md", "a");
  await client.write("files/read\u00e9me.md", "a");
  assert.deepEqual(heard(client, "lookalike"), []);
  await client.write("files/r\u00e9adme.md".normalize("NFD").replace("re\u0301", "Re\u0301"), "a");
  await client.write("files/readme.md", "a");
  assert.deepEqual(
    heard(client, "lookalike").filter(({ key }) => key === "files/readme.md"),
    [{ key: "files/readme.md", others: ["files/Readme.md"] }],
  );
});

/** A client whose network a test may take into its own hands. */
async function behind(answering) {
  const profile = new Profile();
  const tab = profile.tab();
  const real = tab.fetch;
  const client = await open(host, user(), { tab });
  await client.sync();
  client.network = (answer) => {
    tab.fetch = answer === undefined ? real : (url, init) => answer(url, init, real);
  };
  return client;
}

for (const [what, answer] of Object.entries({
  "answers HTML": () => new Response("<html>Please sign in to the hotel's network</html>", { headers: { "Content-Type": "text/html" } }),
  "answers nothing": () => new Response(null),
  "answers garbage as JSON": () => new Response("{\"seq\":", { headers: { "Content-Type": "application/json" } }),
  "answers another thing's JSON": () => new Response("[]", { headers: { "Content-Type": "application/json" } }),
  "answers a proxy's 502": () => new Response("<html>Bad Gateway</html>", { status: 502 }),
  "answers a proxy's 404": () => new Response("<html>Not Found</html>", { status: 404 }),
  "breaks off": () => Promise.reject(new TypeError("fetch failed")),
})) {
  test(`a server that ${what}: offline, nothing is lost, and it goes on when the server is back`, async () => {
    const client = await behind();
    client.network(answer);
    await client.write("files/a", "kept");
    await until(() => client.status === "offline", "offline");
    assert.deepEqual(client.pending(), ["files/a"]);
    if (what === "answers HTML") assert.equal(heard(client, "error")[0].code, "not_a_sync_server");
    client.network(undefined);
    await client.sync();
    assert.equal(client.text("files/a"), "kept");
  });
}

test("a server that takes the request and is silent is given up", async () => {
  const client = await behind();
  const { after } = client.tab;
  client.tab.after = (ms, run) => after(ms / 100, run);
  client.network((url, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
  await client.write("files/a", "kept");
  await until(() => client.status === "offline", "offline");
});

test("large requests are compressed, unless the server does not take it", async () => {
  const client = await behind();
  const text = "a line of text\n".repeat(1000);
  const bodies = [];
  client.network((url, init, real) => {
    if (init.method === "POST") bodies.push([init.headers["Content-Encoding"], init.body]);
    if (init.headers["Content-Encoding"] === "gzip" && bodies.length > 1) return new Response("{}", { status: 415 });
    return real(url, init);
  });
  await client.write("files/a", text);
  await client.sync();
  assert.equal(bodies[0][0], "gzip");
  assert.ok(bodies[0][1].length < text.length / 10);
  assert.equal(JSON.parse(gunzipSync(bodies[0][1])).state.files.a.content, text);
  bodies.push(undefined);
  await client.write("files/b", text);
  await client.sync();
  await client.write("files/c", text);
  await client.sync();
  assert.deepEqual(bodies.slice(2).map(([encoding]) => encoding), ["gzip", undefined, undefined]);
});

test("a patch that does not fit is not applied: the content is fetched", async () => {
  const name = user();
  const tab = new Profile().tab();
  const [one, other] = [await open(host, name), await open(host, name, { tab })];
  const text = Array.from({ length: 200 }, (_, n) => `line ${n}\n`).join("");
  await one.write("files/a", text);
  await one.sync();
  await other.sync();
  const real = tab.fetch;
  let broken = 0;
  tab.fetch = async (url, init) => {
    const response = await real(url, init);
    const reply = url.includes("/sync/pull") ? await response.json() : undefined;
    const entry = reply?.state?.files?.a;
    if (entry?.patch !== undefined) {
      broken += 1;
      entry.patch[0][2] = "not what was written";
    }
    return reply === undefined ? response : new Response(JSON.stringify(reply), { headers: { "Content-Type": "application/json" } });
  };
  await one.write("files/a", text.replace("line 100", "line one hundred"));
  await one.sync();
  await until(() => other.text("files/a") === one.text("files/a"), "the right content");
  assert.ok(broken > 0);
});

for (const [what, years] of [["in 1996", -30], ["in 2086", 60]]) {
  test(`a clock ${what}: edits are made, synced and merged all the same`, async () => {
    const name = user();
    const tab = new Profile().tab({ clockError: years * 365 * 86_400_000 });
    const [wrong, right] = [await open(host, name, { tab }), await open(host, name)];
    await wrong.set("active_file", "wrong");
    await wrong.write("files/a", "a\n");
    await wrong.sync();
    await right.sync();
    assert.equal(right.get("active_file"), "wrong");
    await right.set("active_file", "right");
    await right.sync();
    await until(() => wrong.get("active_file") === "right");
    await wrong.set("active_file", "wrong again");
    await until(() => right.get("active_file") === "wrong again");
  });
}

test("a clock that is set back by a day stops nothing", async () => {
  const client = await behind();
  client.tab.clockError = -86_400_000;
  await client.write("files/a", "a");
  await synced(client);
  await client.write("files/b", "b");
  await until(() => client.status === "synced" && client.pending().length === 0);
});

/** A host's live messages, as a browser sees them. */
function live(isOffered) {
  const sockets = [];
  return {
    sockets,
    WebSocket: class {
      constructor(url, protocols) {
        Object.assign(this, { url, protocols });
        sockets.push(this);
        setTimeout(() => (isOffered ? this.onopen() : this.onclose({ code: 1006 })), 5);
      }
      close() {
        setTimeout(() => this.onclose({ code: 1006 }));
      }
    },
  };
}

test("an older server without live: polled, and asked for it once", async () => {
  const name = user();
  const { sockets, WebSocket } = live(false);
  const [one, other] = [await open(host, name), await open(host, name, { tab: new Profile().tab({ WebSocket }) })];
  await other.sync();
  await one.write("files/a", "a");
  await until(() => other.text("files/a") === "a", "polled");
  assert.equal(sockets.length, 1);
});

test("live hints make a device pull at once, and it comes back after the connection broke", async () => {
  const slow = await server({ PLUGIN_SYNC_PUSH_INTERVAL_MS: "60000" });
  const name = user();
  const { sockets, WebSocket } = live(true);
  const [one, other] = [await open(slow, name), await open(slow, name, { tab: new Profile().tab({ WebSocket }) })];
  await other.sync();
  await until(() => sockets.length === 1);
  const [{ url, protocols, onmessage }] = sockets;
  assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/sync\/live\?device_id=web-/);
  assert.equal(protocols[0], "nself-sync.v1");
  assert.match(protocols[1], /^bearer\.nst_/);
  await sleep(200);
  await one.write("files/a", "a");
  await one.sync();
  assert.equal(other.has("files/a"), false);
  onmessage({ data: '{"event":"sync.state.updated"}' });
  await until(() => other.text("files/a") === "a", "pulled", 1_000);
  sockets[0].onclose({ code: 1006 });
  await until(() => sockets.length === 2, "connected again");
});
