export type Theme = "auto" | "light" | "dark";

const KEY = "clawde.theme";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "auto";
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme();
}

export function nextTheme(): void {
  localStorage.setItem(KEY, NEXT[theme()]);
  applyTheme();
}
