//! What a writer read a moment ago, so that it need not be looked for again.
//!
//! Nothing is read here, and it is not known whether what is here still stands: whoever has it must not outlive the next write.

use std::collections::VecDeque;

use sled::IVec;

use super::pack::Pack;

/// Packs that were read a moment ago, each with where the next one begins: what a writer is about to change lies close together, and
/// every look into sled costs microseconds.
#[derive(Debug, Default)]
pub(super) struct Near(VecDeque<(IVec, Option<IVec>, Pack)>);

impl Near {
    /// As many as those who are sent to at the same time are apart, and little to look through.
    const COUNT_MAX: usize = 16;

    /// The pack that a key is in.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Pack> {
        let is_in =
            |from: &IVec, until: &Option<IVec>| **from <= *key && until.as_ref().is_none_or(|until| *key < **until);
        self.0.iter().find(|(from, until, _)| is_in(from, until)).map(|(_, _, pack)| pack)
    }

    /// Notes a pack, where it begins, and where the next one does.
    pub(super) fn put(&mut self, from: IVec, until: Option<IVec>, pack: Pack) {
        self.0.truncate(Self::COUNT_MAX - 1);
        self.0.push_front((from, until, pack));
    }
}
