import { html } from "lit-html";
import { looksUsable } from "../config";
import type { UserToken } from "../token";
import { modal } from "./dialog";

/** Asks for a new JWT: what the application around it would do with its own sign-in. */
export async function signIn(token: UserToken): Promise<void> {
  const given = await modal<string>("Sign in", (close) => {
    const submit = (event: SubmitEvent): void => {
      event.preventDefault();
      const field = (event.currentTarget as HTMLFormElement).elements.namedItem("token");
      if (!(field instanceof HTMLTextAreaElement)) return;
      const isUsable = looksUsable(field.value.trim());
      field.setCustomValidity(isUsable ? "" : "This is no JWT, or it has run out.");
      if (isUsable) close(field.value);
      else field.reportValidity();
    };
    return html`
      <h2>Sign in</h2>
      <p>The sign-in has run out, or there was none. What you edit meanwhile is kept here and goes out afterwards.</p>
      <form @submit=${submit}>
        <label>A token for this user (JWT)
          <textarea name="token" rows="4" required spellcheck="false" autocomplete="off" autofocus @input=${(event: InputEvent) => (event.target as HTMLTextAreaElement).setCustomValidity("")}></textarea>
        </label>
        <p class="hint"><code>nself-sync token</code> prints one; <code>cargo xtask demo</code> gives a link that has it.</p>
        <div class="dialog-buttons">
          <button type="button" class="button" @click=${(event: Event) => (event.target as HTMLElement).closest("dialog")?.close()}>Later</button>
          <button class="button primary">Sign in</button>
        </div>
      </form>`;
  });
  if (given) token.replace(given);
}
