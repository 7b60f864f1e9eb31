//! Scalars, by the three rules.

use serde_json::Value;

use super::{Carried, Model, Written};
use crate::sim::keys;
use crate::sim::model::push::{Pushing, Status};

/// One way that a pushed scalar may come out, and by which rule.
pub(super) type Way = (Status, &'static str);

impl Model {
    /// The last write of a scalar; of a field its entry's removal, where that came later.
    pub(super) fn last_write(&self, key: &str) -> Option<&Written> {
        let own = self.writes.get(key);
        let removal = keys::entry_of(key).and_then(|entry| self.removals.get(entry));
        match (own, removal) {
            (Some(own), Some(removal)) if own.seq <= removal.seq => Some(removal),
            (Some(own), _) => Some(own),
            (None, removal) => removal,
        }
    }

    /// What the device last pushed for a scalar and has not seen the answer of. The newest; of two at one seq either.
    fn unanswered(&self, push: &Pushing<'_>, key: &str) -> Vec<Option<Value>> {
        let at = |key: &str| self.pushed.get(&(push.device.to_owned(), key.to_owned()));
        let own = at(key).and_then(|(carried, seq)| match carried {
            Carried::Scalar(value) => Some((value.clone(), *seq)),
            Carried::Removal => Some((None, *seq)),
            Carried::Content(_) => None,
        });
        let removal = keys::entry_of(key).and_then(at).and_then(|(carried, seq)| match carried {
            Carried::Removal => Some((None, *seq)),
            Carried::Scalar(_) | Carried::Content(_) => None,
        });
        let pushed: Vec<_> =
            [own, removal].into_iter().flatten().filter(|(_, seq)| *seq > push.seq).collect();
        let newest = pushed.iter().map(|(_, seq)| *seq).max();
        pushed.into_iter().filter(|(_, seq)| Some(*seq) == newest).map(|(value, _)| value).collect()
    }

    /// Whether a value is what the device had before: yes, no, or (pruned) not to be said.
    fn is_base(&self, push: &Pushing<'_>, key: &str, value: Option<&Value>, last_seq: u64) -> Option<bool> {
        let unanswered = self.unanswered(push, key);
        if !unanswered.is_empty() {
            let equal = unanswered.iter().filter(|base| base.as_ref() == value).count();
            return (equal == 0 || equal == unanswered.len()).then_some(equal > 0);
        }
        if last_seq <= push.seq {
            return Some(false); // its base is the last write, which was compared
        }
        let state = self.states.get(&push.seq).filter(|_| push.seq >= self.floor)?;
        Some(keys::scalar(state, key) == value)
    }

    /// What may become of a pushed scalar or field, against `last`.
    pub(super) fn scalar_ways(
        &self,
        push: &Pushing<'_>,
        key: &str,
        value: Option<&Value>,
        last: Option<&Written>,
    ) -> Vec<Way> {
        let old = last.and_then(|last| last.value.as_ref());
        if value == old {
            return vec![(Status::Unchanged, "scalar 1a equal")];
        }
        let mut ways = Vec::new();
        if !push.has_changed_at(key) {
            match self.is_base(push, key, value, last.map_or(0, |last| last.seq)) {
                Some(true) => return vec![(Status::Unchanged, "scalar 1b base")],
                Some(false) => {}
                None => ways.push((Status::Unchanged, "scalar 1b base, perhaps pruned")),
            }
        }
        let is_box = |value: Option<&Value>| value.is_some_and(Value::is_object);
        ways.push(match last {
            None => (Status::Applied, "scalar new"),
            Some(last) if last.seq <= push.seen(key) => (Status::Applied, "scalar 2a seen"),
            Some(last) if last.device == push.device => (Status::Applied, "scalar 2b own"),
            Some(_) if key == "env_encrypted" && (is_box(value) || is_box(old)) => {
                (Status::Superseded, "scalar sealed concurrent")
            }
            Some(last) => match push.changed_at(key).cmp(&last.changed_at) {
                std::cmp::Ordering::Greater => (Status::Applied, "scalar 3 later wins"),
                std::cmp::Ordering::Equal => (Status::Applied, "scalar 3 equal wins"),
                std::cmp::Ordering::Less => (Status::Superseded, "scalar 3 earlier loses"),
            },
        });
        ways
    }
}
