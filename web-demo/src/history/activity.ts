import type { Activity } from "@nself/sync";
import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import { nameOf, type Device } from "../device/device";
import { bytes, clock } from "../format";
import { icon, type IconName } from "../icons";
import { baseName, isFile, pathOf } from "../keys";
import { Part } from "../part";

const KINDS: Record<Activity["kind"], { icon: IconName; says: string }> = {
  push: { icon: "up", says: "Pushed" },
  pull: { icon: "down", says: "Pulled" },
  snapshot: { icon: "down", says: "Took the whole state" },
  merge: { icon: "merge", says: "Merged" },
  conflict: { icon: "clash", says: "Conflict" },
  resolve: { icon: "check", says: "Resolved" },
  failure: { icon: "bolt", says: "Did not get through" },
};
/** Where there is no key to name. */
const QUIET: Partial<Record<Activity["kind"], string>> = { push: "no edits", pull: "nothing new here" };
const KEYS_SHOWN = 3;

const shortName = (key: string): string => (isFile(key) ? baseName(pathOf(key)) : key);

function names(keys: readonly string[]): string {
  const more = keys.length > KEYS_SHOWN ? ` and ${keys.length - KEYS_SHOWN} more` : "";
  return keys.slice(0, KEYS_SHOWN).map(shortName).join(", ") + more;
}

/** What went over the wire and what came of it, the newest first. */
export class ActivityList extends Part {
  constructor(el: HTMLElement, private readonly device: Device) {
    super(el);
    device.on("activity", () => this.update());
  }

  protected view(): TemplateResult {
    const shown = this.device.activity.toReversed();
    if (shown.length === 0) return html`<p class="hint">Nothing has happened yet.</p>`;
    return html`
      <ol class="log" aria-label="What happened, newest first">
        ${repeat(shown, (activity) => activity, (activity) => this.#row(activity))}
      </ol>`;
  }

  #row({ kind, keys, up, down, seq, at, detail }: Activity): TemplateResult {
    const aside = detail || (keys.length === 0 ? QUIET[kind] : "");
    return html`
      <li class="log-row ${kind}">
        <time class="log-time">${clock(at)}</time>
        <span class="log-kind">${icon(KINDS[kind].icon)} ${KINDS[kind].says}</span>
        <span class="log-what" title=${keys.map(nameOf).join("\n")}>${names(keys)} <span class="aside">${aside}</span></span>
        <span class="log-size">${up ? html`<span title="sent">↑ ${bytes(up)}</span>` : nothing} ${down ? html`<span title="received">↓ ${bytes(down)}</span>` : nothing}</span>
        <span class="log-seq">${seq ? `seq ${seq}` : ""}</span>
      </li>`;
  }
}
