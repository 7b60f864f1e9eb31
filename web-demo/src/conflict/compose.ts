import { Chunk } from "@codemirror/merge";
import type { Text } from "@codemirror/state";

/** What the person starts from: mine, with those of their changes that touch none of mine already in. */
export interface Start {
  text: string;
  taken: number;
  clashing: number;
}

const DIFF = { scanLimit: 2000, timeout: 500 };
// Chunks end after a line's break; with one more at the end every line has its own.
const lined = (text: Text): string => `${text.toString()}\n`;

export function compose(base: Text, mine: Text, theirs: Text): Start {
  const own = Chunk.build(base, mine, DIFF);
  const their = Chunk.build(base, theirs, DIFF);
  const from = lined(theirs);
  const into = lined(mine);
  let text = "";
  let at = 0;
  let taken = 0;
  let clashing = 0;
  for (const chunk of their) {
    const insert = from.slice(chunk.fromB, chunk.toB);
    const touching = own.filter((other) => other.fromA <= chunk.toA && chunk.fromA <= other.toA);
    if (touching.length > 0) {
      const isSame = touching.some((other) => other.fromA === chunk.fromA && other.toA === chunk.toA && into.slice(other.fromB, other.toB) === insert);
      if (!isSame) clashing += 1;
      continue;
    }
    const before = own.filter((other) => other.toA < chunk.fromA).at(-1);
    const shift = before ? before.toB - before.toA : 0;
    text += into.slice(at, chunk.fromA + shift) + insert;
    at = chunk.toA + shift;
    taken += 1;
  }
  return { text: (text + into.slice(at)).slice(0, -1), taken, clashing };
}
