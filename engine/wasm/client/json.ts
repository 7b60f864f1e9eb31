import { SyncError } from "./errors.js";
import type { Json } from "./types.js";

/** Something that was changed so that JSON can carry it: where, and what was done. */
export interface Repair {
  path: string;
  repair: string;
}

/** Nested as deep as a host takes it, with room for the keys around a value. */
const DEPTH_MAX = 90;

/**
 * A value as JSON carries it. What can be kept without loss of meaning is repaired and told (`undefined` fields are left
 * out, dates become ISO strings, small BigInts numbers, lone surrogates U+FFFD, −0 becomes 0); anything else (NaN,
 * cycles, functions, maps, bytes, …) is a SyncError `invalid_value` that names the path.
 */
export function toJson(value: unknown): { value: Json; repairs: Repair[] } {
  const repairs: Repair[] = [];
  return { value: convert(value, "", [], repairs), repairs };
}

/** Text without lone surrogates, which UTF-8 cannot carry. */
export function wellFormed(text: string): string {
  return LONE_SURROGATE.test(text) ? text.replace(new RegExp(LONE_SURROGATE, "gu"), "\u{FFFD}") : text;
}

const LONE_SURROGATE = /\p{Surrogate}/u;

function convert(value: unknown, path: string, above: object[], repairs: Repair[]): Json {
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      return repairText(value, path, repairs);
    case "number":
      if (!Number.isFinite(value)) throw invalid(path, `is ${value}, which JSON cannot carry`);
      if (!Object.is(value, -0)) return value;
      repairs.push({ path, repair: "−0 became 0" });
      return 0;
    case "bigint":
      if (!Number.isSafeInteger(Number(value))) throw invalid(path, "is a BigInt beyond 2^53");
      repairs.push({ path, repair: "a BigInt became a number" });
      return Number(value);
    case "object":
      return value === null ? null : convertObject(value, path, above, repairs);
    case "undefined":
    case "function":
    case "symbol":
      throw invalid(path, `is ${typeof value}, which JSON cannot carry`);
  }
}

function convertObject(value: object, path: string, above: object[], repairs: Repair[]): Json {
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw invalid(path, "is an invalid Date");
    repairs.push({ path, repair: "a Date became an ISO string" });
    return value.toISOString();
  }
  if (above.includes(value)) throw invalid(path, "contains itself");
  if (above.length >= DEPTH_MAX) throw invalid(path, `is nested more than ${DEPTH_MAX} deep`);
  const within = [...above, value];
  if (Array.isArray(value)) {
    // Array.from sees the holes too: they are undefined, and refused with their index.
    return Array.from(value, (item: unknown, index) => convert(item, `${path}[${index}]`, within, repairs));
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw invalid(path, `is a ${value.constructor.name}, which JSON cannot carry`);
  }
  const fields: [string, Json][] = [];
  for (const [name, field] of Object.entries(value) as [string, unknown][]) {
    const at = path === "" ? name : `${path}.${name}`;
    if (field === undefined) {
      repairs.push({ path: at, repair: "an undefined field was left out" });
      continue;
    }
    if (name === "__proto__") throw invalid(at, "has a name that JavaScript keeps for itself");
    fields.push([repairText(name, at, repairs), convert(field, at, within, repairs)]);
  }
  return Object.fromEntries(fields);
}

function repairText(text: string, path: string, repairs: Repair[]): string {
  const repaired = wellFormed(text);
  if (repaired !== text) repairs.push({ path, repair: "a lone surrogate became U+FFFD" });
  return repaired;
}

function invalid(path: string, problem: string): SyncError {
  return new SyncError("invalid_value", `${path === "" ? "the value" : path} ${problem}`);
}
