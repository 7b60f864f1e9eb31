/// <reference lib="esnext.disposable" preserve="true" />

export { SyncClient, type Status, type SyncOptions } from "./client.js";
export type { Env, Secret, Variables } from "./env.js";
export { SyncError } from "./errors.js";
export type { Device, Version } from "./host.js";
export { defaultIgnore } from "./ignore.js";
export { init } from "./init.js";
export type { Repair } from "./json.js";
export type { SyncEvents } from "./seat.js";
export type { Activity, Conflict, DocumentSide, Json, Platform, Policy, Rejected, Resolution, Superseded } from "./types.js";
export { diff, merge, recoveryCode } from "./wasm.js";
