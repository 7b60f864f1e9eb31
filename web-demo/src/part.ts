import { render, type TemplateResult } from "lit-html";

/** A piece of the page with an element of its own, drawn anew (once per turn) whenever it is told to. */
export abstract class Part {
  #queued = false;

  constructor(readonly el: HTMLElement) {}

  protected abstract view(): TemplateResult;

  update(): void {
    if (this.#queued) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      this.draw();
    });
  }

  protected draw(): void {
    render(this.view(), this.target);
    this.drawn();
  }

  /** Where the view is drawn; the rest of the element is the part's own. */
  protected get target(): HTMLElement {
    return this.el;
  }

  /** After each drawing: focus and the like. */
  protected drawn(): void {}
}

export function element(className: string, attributes: Record<string, string> = {}, tag = "div"): HTMLElement {
  const el = document.createElement(tag);
  el.className = className;
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  return el;
}
