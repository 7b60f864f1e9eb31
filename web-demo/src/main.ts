import { init } from "@nself/sync";
import wasmUrl from "@nself/sync/wasm?url";
import { App } from "./app";
import { readConfig } from "./config";
import { UserToken } from "./token";
import { applyTheme } from "./ui/theme";
import "./styles/index.css";

applyTheme();
const config = readConfig();
const token = new UserToken(config.token);
const root = document.getElementById("app");

if (root) {
  await init(wasmUrl);
  await new App(root, config, token).start();
  // A new link opened in this tab changes the fragment only.
  addEventListener("hashchange", () => {
    const next = readConfig();
    if (next.user !== config.user || next.url !== config.url) location.reload();
    else if (next.token) token.replace(next.token);
  });
}
