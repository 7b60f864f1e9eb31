import { html, nothing, type TemplateResult } from "lit-html";
import { live } from "lit-html/directives/live.js";
import { codeOf, messageOf, type Device } from "../device/device";
import { bytes } from "../format";
import { icon } from "../icons";
import { ENV } from "../keys";
import { Part } from "../part";

interface Variable {
  name: string;
  value: string;
}
type Stage =
  | { at: "locked"; error: string }
  | { at: "open"; secret: string; variables: Variable[]; isSaved: boolean; error: string };

const SAYS: Record<string, string> = {
  wrong_key: "This passphrase does not open them.",
  damaged: "The box is damaged: it is not what was sealed.",
};
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Environment variables: opened with a passphrase here, and beside them the box, which is all the server ever has. */
export class Variables extends Part {
  #stage: Stage = { at: "locked", error: "" };
  #isBusy = false;
  #shown = new Set<number>();

  constructor(el: HTMLElement, private readonly device: Device) {
    super(el);
    device.on("changed", ({ keys, from }) => {
      if (!keys.includes(ENV)) return;
      if (from === "elsewhere" && this.#stage.at === "open" && this.#stage.isSaved) void this.#unlock(this.#stage.secret);
      this.update();
    });
  }

  focus(): void {
    this.el.querySelector<HTMLElement>("input")?.focus();
  }

  protected view(): TemplateResult {
    const box = this.device.client.get(ENV);
    return html`
      <div class="env">
        <section class="env-side" aria-label="On this device">
          <h2>${icon("key")} On this device</h2>
          ${this.#stage.at === "locked" ? this.#locked(this.#stage, box !== undefined) : this.#open(this.#stage)}
        </section>
        <section class="env-side stored" aria-label="What the server stores">
          <h2>${icon("lock")} What the server stores</h2>
          ${box === undefined
            ? html`<p class="hint">Nothing yet.</p>`
            : html`<p class="hint">This, and nothing else: ${bytes(JSON.stringify(box).length)} under <code>${ENV}</code>. Names and values are inside <code>ct</code>.</p>
                <pre class="box" tabindex="0" aria-label="The sealed box">${JSON.stringify(box, null, 2)}</pre>`}
        </section>
      </div>`;
  }

  #locked({ error }: { error: string }, hasBox: boolean): TemplateResult {
    const submit = (event: SubmitEvent): void => {
      event.preventDefault();
      const secret = String(new FormData(event.currentTarget as HTMLFormElement).get("secret") ?? "");
      if (secret) void this.#unlock(secret);
    };
    return html`
      <p class="hint">${hasBox
        ? "Sealed. The passphrase opens it here, in this browser; it is never sent."
        : "No variables yet. Choose a passphrase: it seals them here, in this browser, and is never sent."}</p>
      <form class="env-unlock" @submit=${submit}>
        <label>Passphrase <input type="password" name="secret" autocomplete="off" required aria-invalid=${error ? "true" : nothing} aria-describedby="env-error" /></label>
        <button class="button primary" ?disabled=${this.#isBusy}>${this.#isBusy ? "Opening…" : hasBox ? "Open" : "Begin"}</button>
      </form>
      ${error ? html`<p class="error" id="env-error" role="alert">${error}</p>` : nothing}`;
  }

  #open(stage: Extract<Stage, { at: "open" }>): TemplateResult {
    const { variables, isSaved, error } = stage;
    const edit = (at: number, change: Partial<Variable>): void => {
      stage.variables = variables.map((variable, index) => (index === at ? { ...variable, ...change } : variable));
      stage.isSaved = false;
      this.update();
    };
    return html`
      <form class="env-open" @submit=${(event: SubmitEvent) => { event.preventDefault(); void this.#save(stage); }}>
        <div class="env-rows" role="list">
          ${variables.map(({ name, value }, at) => html`
            <div class="env-row" role="listitem">
              <input class="env-name" aria-label="Name" placeholder="NAME" spellcheck="false" autocomplete="off" .value=${live(name)}
                @input=${(event: InputEvent) => edit(at, { name: (event.target as HTMLInputElement).value })} />
              <input class="env-value" aria-label="Value of ${name || "the new variable"}" type=${this.#shown.has(at) ? "text" : "password"} placeholder="value" spellcheck="false" autocomplete="off" .value=${live(value)}
                @input=${(event: InputEvent) => edit(at, { value: (event.target as HTMLInputElement).value })} />
              <button type="button" class="quiet" aria-pressed=${String(this.#shown.has(at))} title="Show or hide the value" aria-label="Show ${name}" @click=${() => this.#reveal(at)}>${this.#shown.has(at) ? "Hide" : "Show"}</button>
              <button type="button" class="quiet" title="Remove" aria-label="Remove ${name}" @click=${() => { stage.variables = variables.filter((_, index) => index !== at); stage.isSaved = false; this.update(); }}>${icon("trash")}</button>
            </div>`)}
        </div>
        <button type="button" class="button" @click=${() => { stage.variables = [...variables, { name: "", value: "" }]; stage.isSaved = false; this.update(); }}>${icon("plus")} Add a variable</button>
        <div class="env-actions">
          <button class="button primary" ?disabled=${isSaved || this.#isBusy}>${this.#isBusy ? "Sealing…" : isSaved ? "Sealed and saved" : "Seal and save"}</button>
          <button type="button" class="button" @click=${() => this.#lock()}>Lock</button>
        </div>
        ${error ? html`<p class="error" role="alert">${error}</p>` : nothing}
      </form>`;
  }

  #reveal(at: number): void {
    if (!this.#shown.delete(at)) this.#shown.add(at);
    this.update();
  }

  #lock(): void {
    this.#shown.clear();
    this.#stage = { at: "locked", error: "" };
    this.update();
  }

  async #unlock(secret: string): Promise<void> {
    await this.#busy(async () => {
      const known = this.device.client.get(ENV) === undefined ? {} : await this.device.client.env.open({ passphrase: secret });
      const variables = Object.entries(known).map(([name, value]) => ({ name, value }));
      if (variables.length === 0) variables.push({ name: "", value: "" });
      this.#stage = { at: "open", secret, variables, isSaved: true, error: "" };
    }, (error) => (this.#stage = { at: "locked", error }));
  }

  async #save(stage: Extract<Stage, { at: "open" }>): Promise<void> {
    const given = stage.variables.filter(({ name, value }) => name || value);
    const wrong = given.find(({ name }) => !NAME.test(name));
    stage.error = wrong ? `“${wrong.name}” is no name for a variable: letters, digits and _, not a digit first.` : "";
    if (wrong) return this.update();
    await this.#busy(async () => {
      await this.device.saveVariables(Object.fromEntries(given.map(({ name, value }) => [name, value])), stage.secret);
      stage.isSaved = true;
    }, (error) => (stage.error = error));
  }

  async #busy(work: () => Promise<void>, failed: (message: string) => void): Promise<void> {
    this.#isBusy = true;
    this.update();
    // A passphrase takes a moment on purpose: lets the page say so first.
    await new Promise((resolve) => setTimeout(resolve, 30));
    try {
      await work();
    } catch (error) {
      failed(SAYS[codeOf(error)] ?? messageOf(error));
    }
    this.#isBusy = false;
    this.update();
  }
}
