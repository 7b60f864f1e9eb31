import type { Tab } from "./seat.js";
import type { ReplicaEvent } from "./types.js";

/** Tells the listeners of this tab what the replica reported, wherever it runs. */
export function emitReported(tab: Tab, event: ReplicaEvent): void {
  switch (event.type) {
    case "rejected":
      return void tab.emitter.emit("rejected", { key: event.key, code: event.code, detail: event.detail });
    case "superseded":
      return tab.superseded({ key: event.key, mine: event.mine, theirs: event.theirs });
    case "activity": {
      const { type: _, ...activity } = event;
      return void tab.emitter.emit("activity", activity);
    }
    case "change":
    case "conflicts":
    case "status":
    case "resolved":
    case "identity":
    case "sign_in":
      return;
  }
}
