import type { Device } from "./device/device";
import { fileKey, pageKey, SESSIONS } from "./keys";

const README = `# Tide table

A small program that says when the tide turns.

## Try the sync

1. Open **Two devices** at the top: each side is a device of its own.
2. Edit different lines of \`src/tide.rs\` on both. They merge.
3. Cut one side off with its *Offline* switch, change the same line on both, and bring it back.
`;

const TIDE = `/// Hours between two high waters.
pub const PERIOD_HOURS: f64 = 12.42;

/// The water's height in metres, \`hours\` after high water.
pub fn height(hours: f64, range_metres: f64) -> f64 {
    let phase = hours / PERIOD_HOURS * std::f64::consts::TAU;
    range_metres / 2.0 * phase.cos()
}

/// Whether the water is coming in.
pub fn is_rising(hours: f64) -> bool {
    hours.rem_euclid(PERIOD_HOURS) > PERIOD_HOURS / 2.0
}
`;

const MAIN = `mod tide;

fn main() {
    for hour in 0..13 {
        let metres = tide::height(f64::from(hour), 4.2);
        let arrow = if tide::is_rising(f64::from(hour)) { "up" } else { "down" };
        println!("{hour:>2} h  {metres:>5.2} m  {arrow}");
    }
}
`;

const CHART = `export interface Point { hour: number; metres: number }

/** The table as a line for an SVG path. */
export function path(points: Point[], width: number, height: number): string {
  const top = Math.max(...points.map(({ metres }) => Math.abs(metres)));
  return points
    .map(({ hour, metres }, at) => \`\${at === 0 ? "M" : "L"}\${(hour / 12) * width} \${height / 2 - (metres / top) * (height / 2)}\`)
    .join(" ");
}
`;

const STYLE = `:root { --sea: #1b6f8a; }

.chart path { fill: none; stroke: var(--sea); stroke-width: 2; }
`;

// With a byte order mark and CRLF, as other people's files have them: they stay.
const PORTS = "\uFEFFport,offset\r\nDover,0\r\nCalais,15\r\nBoulogne,-10\r\n";

const FILES: Record<string, string> = {
  "tides/README.md": README,
  "tides/src/main.rs": MAIN,
  "tides/src/tide.rs": TIDE,
  "tides/web/chart.ts": CHART,
  "tides/web/style.css": STYLE,
  "tides/data/ports.csv": PORTS,
};

/** Fills an empty workspace; the key of the file to show first. */
export function addSample(device: Device): string {
  for (const [path, text] of Object.entries(FILES)) device.write(fileKey(path), text);
  // Always the same ids: begun on two devices at once it is one sample.
  const session = "s-tides";
  device.set(`${SESSIONS}${session}/title`, "Draw the tide as a chart");
  device.set(`${SESSIONS}${session}/status`, "running");
  device.set("open_session_id", session);
  const page = "p-style";
  device.write(pageKey(page), "# How we write\n\n- Units last in names: `range_metres`.\n- A comment says why, not what.\n");
  device.set(`${pageKey(page)}/title`, "House style");
  return fileKey("tides/src/tide.rs");
}
