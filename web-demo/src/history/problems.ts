import { html, nothing, type TemplateResult } from "lit-html";
import { repeat } from "lit-html/directives/repeat.js";
import { nameOf, type Device, type Problem } from "../device/device";
import { clock } from "../format";
import { icon } from "../icons";
import { Part } from "../part";

/** What the server would not take, what lost by the rules, what failed. */
export class Problems extends Part {
  constructor(el: HTMLElement, private readonly device: Device) {
    super(el);
    device.on("problems", () => this.update());
  }

  protected view(): TemplateResult {
    const problems = this.device.problems.toReversed();
    if (problems.length === 0) return html`<p class="hint">No problems.</p>`;
    return html`<ul class="log" aria-label="Problems">${repeat(problems, ({ id }) => id, (problem) => this.#row(problem))}</ul>`;
  }

  #row({ id, key, title, detail, at, isRejected }: Problem): TemplateResult {
    return html`
      <li class="log-row failure">
        <time class="log-time">${clock(at)}</time>
        <span class="log-kind">${icon("bolt")} ${title}</span>
        <span class="log-what" title=${detail}>${nameOf(key)} <span class="aside">${detail}</span></span>
        ${isRejected ? html`<button class="quiet" title="Show what the server has instead" @click=${() => this.device.revert(key)}>Take back</button>` : nothing}
        <button class="quiet" aria-label="Dismiss" title="Dismiss" @click=${() => this.device.dismissProblem(id)}>${icon("close")}</button>
      </li>`;
  }
}
