/** What every call of this package throws or rejects with; `code` is for programs and does not change. */
export class SyncError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "SyncError";
    this.code = code;
  }
}

/** A thrown value as a SyncError: the wasm's errors carry a `code`, others get the one given. */
export function asSyncError(thrown: unknown, code: string): SyncError {
  if (thrown instanceof SyncError) return thrown;
  const { code: own, message } = (typeof thrown === "object" && thrown !== null ? thrown : {}) as {
    code?: unknown;
    message?: unknown;
  };
  return new SyncError(
    typeof own === "string" ? own : code,
    typeof message === "string" ? message : String(thrown),
    { cause: thrown },
  );
}
