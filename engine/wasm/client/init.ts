import type { Engine } from "./client.js";
import { SyncError } from "./errors.js";
import load, { OpenBox, Replica } from "./wasm.js";

let loading: Promise<void> | undefined;
let engine: Engine | undefined;

/**
 * Loads the wasm: from beside this module, or from where a bundler has put it. Once for a page; called again it waits for the
 * same.
 */
export function init(wasm?: URL | string | Response | BufferSource): Promise<void> {
  loading ??= load(wasm === undefined ? undefined : { module_or_path: wasm }).then(
    () => {
      engine = {
        openReplica: (deviceId, platform, records) => Replica.open(deviceId, platform, records),
        sealing: OpenBox,
      };
    },
    (error: unknown) => {
      loading = undefined;
      throw new SyncError("wasm_failed", "the wasm could not be loaded", { cause: error });
    },
  );
  return loading;
}

/** The wasm, after `init()`. */
export function loadedEngine(): Engine {
  if (engine === undefined) throw new SyncError("not_initialised", "call init() and wait for it first");
  return engine;
}
