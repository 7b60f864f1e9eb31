/** What every function here throws. */
export interface SyncError extends Error { name: "SyncError"; code: string }
