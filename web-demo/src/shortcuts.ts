import type { Pane } from "./device/pane";
import { showHelp } from "./ui/help";

export interface Panes {
  all(): readonly Pane[];
  /** The one with the focus, or that had it last. */
  current(): Pane | undefined;
}

/** The page's keys; what the editor or a field needs for itself stays theirs. */
export function listenForShortcuts(panes: Panes): void {
  // Capturing: the editor would take some of them.
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const pane = panes.current();
    const action = pane && actionOf(event, pane, panes);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }, { capture: true });
}

type Action = () => unknown;

function actionOf(event: KeyboardEvent, pane: Pane, panes: Panes): Action | undefined {
  const isControl = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
  const isAlt = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (isControl) {
    const actions: Record<string, Action> = {
      KeyP: () => pane.find(),
      KeyS: () => pane.device.sync(),
      KeyB: pane.toggleSide,
      KeyJ: pane.togglePanel,
    };
    return actions[event.code];
  }
  if (isAlt) {
    const digit = /^Digit([1-9])$/.exec(event.code)?.[1];
    if (digit) return () => pane.selectTab(Number(digit) - 1);
    const actions: Record<string, Action> = {
      KeyN: () => pane.newFile(),
      KeyW: pane.closeTab,
      KeyO: () => pane.device.setOnline(!pane.device.client.online),
      PageUp: () => pane.stepTab(-1),
      PageDown: () => pane.stepTab(1),
    };
    return actions[event.code];
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  if (event.key === "F1") return showHelp;
  if (event.key === "F6") return () => nextRegion(panes.all(), event.shiftKey ? -1 : 1);
  if (event.key === "F8") return pane.nextConflict;
  return undefined;
}

function nextRegion(panes: readonly Pane[], step: number): void {
  const regions = panes.flatMap((pane) => pane.regions());
  const at = regions.findIndex(({ el }) => el.contains(document.activeElement));
  regions[(at + step + regions.length) % regions.length]?.focus();
}
