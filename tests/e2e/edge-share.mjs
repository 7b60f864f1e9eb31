// Which part of a push's time on the edge goes where: V8's profile of workerd, by the functions' own names. JSON on stdout.
// `cargo xtask bench edge-share`, which builds the worker with its names in it.
import { Edge } from "./harness/edge.mjs";

const [WARM_UP, PUSHES, FILES, USER] = [200, 2_000, 200, "bench"];

/** Whose time it is: of the first of a frame and its callers that one of these names. */
const PARTS = [
  ["json", /serde_json|engine::wire|engine::call|^(parse|stringify)$/],
  ["sql", /nself_sync_sqlite|nself_sync_edge::sql|^(exec|raw|transactionSync)$/],
  ["engine", /nself_sync_engine|miniz_oxide|flate2|sha2/],
];

const edge = await Edge.start({ PLUGIN_SYNC_RATE_PER_MIN: "0" }, ["--inspector-addr=127.0.0.1:0"]);
try {
  let seq = 0;
  const push = async (state) => {
    const reply = await edge.ask(USER, "/sync/push", { device_id: "desktop-bench", seq, state });
    seq = reply.seq;
  };
  const line = (n) => `the line ${n} of a file that people edit\n`;
  const text = (edit) => Array.from({ length: 100 }, (_, n) => line(n === 50 ? edit : n)).join("");
  await push({ files: Object.fromEntries(Array.from({ length: FILES }, (_, n) => [`src/f${n}.rs`, { content: text(n) }])) });
  const pushes = async (count) => {
    for (let n = 0; n < count; n++) await push({ files: { "src/f3.rs": { content: text(1_000 + n) } } });
  };
  await pushes(WARM_UP);
  const inspect = await inspector(edge.inspector);
  await inspect("Profiler.enable");
  await inspect("Profiler.setSamplingInterval", { interval: 200 });
  await inspect("Profiler.start");
  await pushes(PUSHES);
  const { profile } = await inspect("Profiler.stop");
  console.log(JSON.stringify({ pushes: PUSHES, files: FILES, percent_of_busy_time: shares(profile) }, null, 2));
} finally {
  await edge.stop();
}
process.exit(0);

/** Calls of the inspector at this port. */
async function inspector(port) {
  const [target] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the inspector does not answer"));
  });
  let calls = 0;
  return (method, params = {}) =>
    new Promise((resolve, reject) => {
      const id = ++calls;
      const answered = ({ data }) => {
        const answer = JSON.parse(data);
        if (answer.id !== id) return;
        socket.removeEventListener("message", answered);
        if (answer.error === undefined) resolve(answer.result);
        else reject(new Error(`${method}: ${answer.error.message}`));
      };
      socket.addEventListener("message", answered);
      socket.send(JSON.stringify({ id, method, params }));
    });
}

/** Samples by part, in percent of those that are not idle. */
function shares({ nodes, samples }) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const node of nodes) for (const child of node.children ?? []) byId.get(child).caller = node;
  const part = (node) => {
    for (let at = node; at !== undefined; at = at.caller) {
      const name = at.callFrame.functionName;
      const found = PARTS.find(([, pattern]) => pattern.test(name));
      if (found !== undefined) return found[0];
    }
    return "runtime";
  };
  const counts = { sql: 0, json: 0, engine: 0, runtime: 0, garbage_collection: 0 };
  for (const id of samples) {
    const { functionName } = byId.get(id).callFrame;
    if (functionName === "(idle)") continue;
    if (functionName === "(garbage collector)") counts.garbage_collection++;
    else counts[part(byId.get(id))]++;
  }
  const busy = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (counts.sql === 0 || counts.engine === 0) throw new Error("the worker was built without its names");
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, Math.round((1_000 * count) / busy) / 10]));
}
