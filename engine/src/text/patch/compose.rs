//! Two patches in a row as one.

use super::{Op, Patch, PatchError};

impl Patch {
    /// The one patch that does `self`, then `next`, made without the base. `next` may change what `self` inserted;
    /// what is inserted and deleted again leaves no trace. Associative.
    ///
    /// # Errors
    /// [`PatchError::TooLarge`] where lengths overflow, which patches that fit a base never do.
    pub fn compose(&self, next: &Patch) -> Result<Patch, PatchError> {
        let mut first = Reader { ops: self.ops.iter(), stage: Stage::End };
        first.advance();
        let mut composed = Writer::default();
        for op in &next.ops {
            first.take(op.skip, &mut composed, true)?;
            first.take(op.delete, &mut composed, false)?;
            composed.pending.insert.extend_from_slice(&op.insert);
        }
        first.rest(&mut composed)?;
        Ok(composed.finish())
    }

    /// [`Patch::compose`] over a chain, the first to be applied first. Composed pairwise as a balanced tree: n patches
    /// cost the sum of their lengths times log n, not times n.
    ///
    /// # Errors
    /// As [`Patch::compose`].
    pub fn compose_all(patches: impl IntoIterator<Item = Patch>) -> Result<Patch, PatchError> {
        // Like a binary counter: each entry stands for `count` patches, and equal counts are carried over.
        let mut tree: Vec<(usize, Patch)> = Vec::new();
        for patch in patches {
            let mut entry = (1, patch);
            while let Some((count, before)) = tree.pop_if(|(count, _)| *count == entry.0) {
                entry = (count + entry.0, before.compose(&entry.1)?);
            }
            tree.push(entry);
        }
        let mut all = Patch::default();
        for (_, before) in tree.into_iter().rev() {
            all = before.compose(&all)?;
        }
        Ok(all)
    }
}

/// Where a [`Reader`] stands in what a patch makes of its base.
enum Stage<'a> {
    /// So many bytes of the base are still to be copied, then comes the rest of the operation.
    Skip(usize, &'a Op),
    /// These bytes are still to be inserted.
    Insert(&'a [u8]),
    /// After the last operation: the rest of the base, however long.
    End,
}

/// Walks over what the first patch makes of its base, and tells a [`Writer`] what becomes of it.
struct Reader<'a> {
    ops: std::slice::Iter<'a, Op>,
    stage: Stage<'a>,
}

impl Reader<'_> {
    fn advance(&mut self) {
        self.stage = self.ops.next().map_or(Stage::End, |op| Stage::Skip(op.skip, op));
    }

    /// The next `count` bytes of the first patch's result are kept or dropped by the second.
    fn take(&mut self, mut count: usize, to: &mut Writer, keep: bool) -> Result<(), PatchError> {
        while count > 0 {
            match self.stage {
                Stage::Skip(0, op) => {
                    to.delete(op.delete)?;
                    self.stage = Stage::Insert(&op.insert);
                }
                Stage::Skip(left, op) => {
                    let taken = left.min(count);
                    if keep {
                        to.keep(taken)?
                    } else {
                        to.delete(taken)?
                    }
                    self.stage = Stage::Skip(left - taken, op);
                    count -= taken;
                }
                Stage::Insert([]) => self.advance(),
                Stage::Insert(bytes) => {
                    let (taken, left) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                    if keep {
                        to.pending.insert.extend_from_slice(taken);
                    }
                    self.stage = Stage::Insert(left);
                    count -= taken.len();
                }
                Stage::End => {
                    if keep {
                        to.keep(count)?
                    } else {
                        to.delete(count)?
                    }
                    count = 0;
                }
            }
        }
        Ok(())
    }

    /// All that is left of the first patch is kept.
    fn rest(mut self, to: &mut Writer) -> Result<(), PatchError> {
        loop {
            match self.stage {
                Stage::Skip(left, op) => {
                    to.keep(left)?;
                    to.delete(op.delete)?;
                    self.stage = Stage::Insert(&op.insert);
                }
                Stage::Insert(bytes) => {
                    to.pending.insert.extend_from_slice(bytes);
                    self.advance();
                }
                Stage::End => return Ok(()),
            }
        }
    }
}

/// Gathers operations so that none is empty and no two touch.
#[derive(Default)]
struct Writer {
    ops: Vec<Op>,
    pending: Op,
}

impl Writer {
    fn keep(&mut self, count: usize) -> Result<(), PatchError> {
        if count > 0 && (self.pending.delete > 0 || !self.pending.insert.is_empty()) {
            self.ops.push(std::mem::take(&mut self.pending));
        }
        self.pending.skip = self.sum(self.pending.skip, count)?;
        Ok(())
    }

    fn delete(&mut self, count: usize) -> Result<(), PatchError> {
        self.pending.delete = self.sum(self.pending.delete, count)?;
        Ok(())
    }

    fn sum(&self, a: usize, b: usize) -> Result<usize, PatchError> {
        a.checked_add(b).ok_or(PatchError::TooLarge { op: self.ops.len() })
    }

    fn finish(mut self) -> Patch {
        if self.pending.delete > 0 || !self.pending.insert.is_empty() {
            self.ops.push(self.pending);
        }
        Patch { ops: self.ops }
    }
}
