/** What the names of the replica's records tell: `place/key`, and some single ones. The values are opaque. */

/** The changed key that a record is about, if it is about one. */
export function keyOfRecord(name: string): string | undefined {
  const slash = name.indexOf("/");
  return slash < 0 ? undefined : name.slice(slash + 1);
}

/** Whether the record holds the open conflicts. */
export function isConflictsRecord(name: string): boolean {
  return name === "conflicts";
}
