//! What a run has hit, by name; and what all runs together must have.

use std::collections::BTreeMap;

/// Counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage(BTreeMap<String, u64>);

/// What the seeds of CI must hit, all together.
pub const REQUIRED: &[&str] = &[
    "document same, same (merge)",
    "document same, changed (merge)",
    "document same, deleted (merge)",
    "document changed, same (merge)",
    "document changed, equal to mine (merge)",
    "document changed, changed, merged (merge)",
    "document changed, changed, conflict (merge)",
    "document changed, changed, merge too large (merge)",
    "document changed, changed, binary (merge)",
    "document changed, deleted (merge)",
    "document deleted, same (merge)",
    "document deleted, deleted (merge)",
    "document deleted, changed (merge)",
    "document absent, never known, new (merge)",
    "document absent, removed (merge)",
    "document absent, unknown base_hash (merge)",
    "document exists, differs, no base known (merge)",
    "document exists, differs, add against add (merge)",
    "document exists, equals mine, no base known (merge)",
    "document same, same (lww)",
    "document same, changed (lww)",
    "document same, deleted (lww)",
    "document changed, same (lww)",
    "document changed, equal to mine (lww)",
    "document changed, changed, merged (lww)",
    "document changed, changed, conflict (lww)",
    "document changed, changed, binary (lww)",
    "document changed, deleted (lww)",
    "document deleted, same (lww)",
    "document deleted, deleted (lww)",
    "document deleted, changed (lww)",
    "document absent, never known, new (lww)",
    "document absent, removed (lww)",
    "document absent, unknown base_hash (lww)",
    "document exists, differs, no base known (lww)",
    "document exists, differs, add against add (lww)",
    "document exists, equals mine, no base known (lww)",
    "scalar 1a equal",
    "scalar 1b base",
    "scalar new",
    "scalar 2a seen",
    "scalar 2b own",
    "scalar 3 later wins",
    "scalar 3 equal wins",
    "scalar 3 earlier loses",
    "scalar sealed concurrent",
    "entry field write loses against its removal",
    "entry field write brings it back",
    "page returns with its content",
    "entry page removal is a conflict or blocked",
    "entry page removal of what it never had",
    "entry removal of a page without fields",
    "entry removal of nothing",
    "entry removal of what it never had",
    "entry removal of what it saw",
    "entry removal loses",
    "entry removal wins",
    "blocked device",
    "blocked file",
    "patch push",
    "rejected base_unknown",
    "rejected file_too_large",
    "rejected invalid_path",
    "rejected invalid_base64",
    "rejected invalid_box",
    "rejected invalid_entry",
    "rejected scalar_too_large",
    "push replay",
    "push replay registers again",
    "push stale_push",
    "push device_forked",
    "push seq_ahead",
    "push epoch_changed",
    "push device_revoked",
    "push unauthorized",
    "push plaintext_env",
    "changes behind behind_threshold",
    "changes behind pruned",
    "changes delta",
    "changes by hash only",
    "pull delta",
    "pull delta with a patch",
    "pull snapshot initial",
    "pull snapshot behind_threshold",
    "pull snapshot pruned",
    "pull snapshot seq_ahead",
    "pull snapshot epoch_changed",
    "resolve mine",
    "resolve theirs",
    "resolve merged",
    "resolve merged onto a moved head",
    "resolve forced",
    "resolve conflict_moved",
    "resolve conflict_resolved",
    "prune",
    "crash before apply",
    "crash before reply",
    "device removed",
    "restore unannounced",
    "restore with a new epoch",
];

impl Coverage {
    /// Counts one.
    pub fn hit(&mut self, name: &str) {
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(name.to_owned(), 1)),
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Coverage) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// What had to be hit and was not.
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|name| !self.0.contains_key(*name)).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, count) in &self.0 {
            writeln!(f, "{count:>9}  {name}")?;
        }
        Ok(())
    }
}
