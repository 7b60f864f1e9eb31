import { html, type TemplateResult } from "lit-html";
import { keepView, type Config } from "./config";
import { Device, messageOf, type Side } from "./device/device";
import { Pane } from "./device/pane";
import { icon, type IconName } from "./icons";
import { element, Part } from "./part";
import { listenForShortcuts } from "./shortcuts";
import type { UserToken } from "./token";
import { showHelp } from "./ui/help";
import { signIn } from "./ui/sign-in";
import { nextTheme, theme, type Theme } from "./ui/theme";

const THEMES: Record<Theme, { icon: IconName; says: string }> = {
  auto: { icon: "auto", says: "Colours: as the system" },
  light: { icon: "sun", says: "Colours: light" },
  dark: { icon: "moon", says: "Colours: dark" },
};

/** The page: a bar at the top, below it one device, or two beside each other. */
export class App extends Part {
  readonly #head = element("top", {}, "header");
  readonly #stage = element("panes");
  readonly #panes = new Map<Side, Pane>();
  #current: Side = "left";
  #isTwo = false;
  #isSigningIn = false;

  constructor(el: HTMLElement, private readonly config: Config, private readonly token: UserToken) {
    super(el);
    el.append(this.#head, this.#stage);
    listenForShortcuts({
      all: () => [...this.#panes.values()].filter(({ el: pane }) => !pane.hidden),
      current: () => this.#panes.get(this.#current),
    });
    const keepPlaces = (): void => {
      if (document.visibilityState === "hidden") for (const pane of this.#panes.values()) pane.keepPlace();
    };
    document.addEventListener("visibilitychange", keepPlaces);
    addEventListener("beforeunload", (event) => {
      if ([...this.#panes.values()].some(({ device }) => !device.isKept)) event.preventDefault();
    });
  }

  async start(): Promise<void> {
    await this.#ensure("left");
    await this.#setTwo(this.config.two);
    if (!this.token.usable) this.#signIn();
  }

  protected override get target(): HTMLElement {
    return this.#head;
  }

  protected view(): TemplateResult {
    const { icon: name, says } = THEMES[theme()];
    const choice = (isTwo: boolean, label: string): TemplateResult => html`
      <button role="radio" aria-checked=${String(this.#isTwo === isTwo)} @click=${() => this.#setTwo(isTwo)}>${label}</button>`;
    return html`
      <span class="brand"><img src="./icon.svg" alt="" width="20" height="20" /> ClawDE <span>Web</span></span>
      <div class="segments" role="radiogroup" aria-label="View">${choice(false, "One device")}${choice(true, "Two devices")}</div>
      <span class="spring"></span>
      <span class="user" title="The user whose workspace this is">${this.config.user}</span>
      <button class="quiet" title=${says} aria-label=${says} @click=${() => { nextTheme(); this.update(); }}>${icon(name)}</button>
      <button class="quiet" title="Keyboard (F1)" aria-label="Keyboard help" @click=${() => showHelp()}>${icon("help")}</button>`;
  }

  async #setTwo(isTwo: boolean): Promise<void> {
    this.#isTwo = isTwo;
    keepView(isTwo);
    this.#stage.classList.toggle("two", isTwo);
    this.update();
    if (isTwo) await this.#ensure("right");
    const right = this.#panes.get("right");
    if (right) right.el.hidden = !this.#isTwo;
    if (!this.#isTwo) this.#current = "left";
  }

  async #ensure(side: Side): Promise<void> {
    if (this.#panes.has(side)) return;
    const el = element(`pane ${side}`, { "aria-label": side === "left" ? "Left device" : "Right device" }, "section");
    this.#stage.append(el);
    try {
      const device = await Device.open(this.config, this.token, side);
      this.#panes.set(side, new Pane(el, device, () => (this.token.usable ? device.signedIn() : this.#signIn())));
      el.addEventListener("focusin", () => (this.#current = side));
      el.addEventListener("pointerdown", () => (this.#current = side));
    } catch (error) {
      el.textContent = `This device cannot be opened: ${messageOf(error)}`;
      el.classList.add("broken");
    }
  }

  async #signIn(): Promise<void> {
    if (this.#isSigningIn) return;
    this.#isSigningIn = true;
    await signIn(this.token);
    this.#isSigningIn = false;
  }
}
