import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// WCAG 2.2 AA: text 4.5 : 1; what a control is told apart by, 3 : 1.
const css = readFileSync(new URL("../src/styles/tokens.css", import.meta.url), "utf8");
const tokens = Object.fromEntries([...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map(([, name, light, dark]) => [name, { light, dark }]));

const GROUNDS = ["paper", "side", "raised", "hover"];
const TEXTS = {
  ink: [...GROUNDS, "accent-soft", "mine-soft", "theirs-soft", "mine-strong", "theirs-strong", "selection", "match"],
  muted: [...GROUNDS, "accent-soft", "mine-soft", "theirs-soft"],
  faint: ["paper", "side"],
  "accent-ink": ["paper", "side", "raised", "hover", "accent-soft"],
  "on-accent": ["accent", "accent-ink"],
  paper: ["bad"],
  bad: ["paper", "side", "raised", "bad-soft", "hover", "accent-soft"],
  warn: ["warn-soft"],
  mine: ["mine-soft", "raised"],
  theirs: ["theirs-soft", "raised"],
  left: ["side"],
  right: ["side"],
  ...Object.fromEntries(Object.keys(tokens).filter((name) => name.startsWith("code-")).map((name) => [name, ["paper", "mine-soft", "theirs-soft"]])),
};
const MARKS = { edge: GROUNDS, focus: GROUNDS, good: ["side"], warn: ["side", "accent-soft"], calm: ["side"], accent: ["paper"] };

function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ratio(one, other) {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

for (const scheme of ["light", "dark"]) {
  for (const [pairs, min] of [[TEXTS, 4.5], [MARKS, 3]]) {
    test(`${min === 4.5 ? "text" : "marks and edges"} can be read in the ${scheme} colours`, () => {
      const weak = Object.entries(pairs).flatMap(([name, grounds]) =>
        grounds.map((ground) => [name, ground, ratio(tokens[name][scheme], tokens[ground][scheme])]).filter(([, , is]) => is < min),
      );
      assert.deepEqual(weak.map(([name, ground, is]) => `${name} on ${ground}: ${is.toFixed(2)}`), []);
    });
  }
}
