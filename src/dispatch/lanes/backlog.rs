//! Deliveries that were never tried, first come first: a queue that takes its memory in blocks. Pure.
//!
//! A ring that doubles holds up to twice of what is in it, and leaves as much lying about each time it grows; with millions
//! waiting that is hundreds of megabytes. It does not know what order is kept, nor by what.
//!
//! Invariant: `taken` entries of the first block are gone, and never all of them; no block is empty but where it is the only one.

use std::collections::VecDeque;

use super::queue::Fresh;

/// Entries of a block; 40 KiB.
const BLOCK: usize = 1024;

/// A block of at most so many entries is kept when it was emptied.
const KEPT: usize = 64;

/// So many rising runs are merged; what belongs to more of them is sorted.
const RUNS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    blocks: VecDeque<Vec<Fresh>>,
    taken: usize,
}

impl Backlog {
    pub(super) fn push_back(&mut self, fresh: Fresh) {
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push(fresh),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(fresh);
                self.blocks.push_back(block);
            }
            // The first grows: thousands of webhooks have few each.
            None => self.blocks.push_back(vec![fresh]),
        }
    }

    pub(super) fn front(&self) -> Option<&Fresh> {
        self.blocks.front()?.get(self.taken)
    }

    pub(super) fn back(&self) -> Option<&Fresh> {
        self.blocks.back()?.last()
    }

    pub(super) fn pop_front(&mut self) -> Option<Fresh> {
        let is_only = self.blocks.len() == 1;
        let block = self.blocks.front_mut()?;
        let fresh = *block.get(self.taken)?;
        self.taken += 1;
        if self.taken == block.len() {
            self.taken = 0;
            if is_only && block.capacity() <= KEPT {
                block.clear();
            } else {
                self.blocks.pop_front();
            }
        }
        Some(fresh)
    }

    /// All, first come first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Fresh> {
        self.blocks.iter().flatten().skip(self.taken)
    }

    /// Puts them in order of their ids; of two with the same id the first stays first.
    ///
    /// What lies here came in a few rising runs, each in order: they are told apart and merged, and a block goes as soon as it was
    /// taken from, so that millions need no memory a second time.
    pub(super) fn sort(&mut self) {
        // The first run ends with the highest id, the last one with the lowest.
        let (mut runs, mut rest): (Vec<Self>, Vec<Fresh>) = (Vec::new(), Vec::new());
        while let Some(fresh) = self.pop_front() {
            let at = runs.partition_point(|run| run.back().is_some_and(|last| last.id > fresh.id));
            if at == runs.len() && at < RUNS_MAX {
                runs.push(Self::default());
            }
            match runs.get_mut(at) {
                Some(run) => run.push_back(fresh),
                None => rest.push(fresh),
            }
        }
        rest.sort_by_key(|fresh| fresh.id);
        let mut last = Self::default();
        for fresh in rest {
            last.push_back(fresh);
        }
        runs.push(last);
        let lowest = |runs: &[Self]| {
            let fronts = runs.iter().enumerate().filter_map(|(at, run)| Some((at, run.front()?.id)));
            fronts.min_by_key(|(_, id)| *id).map(|(at, _)| at)
        };
        while let Some(fresh) = lowest(&runs).and_then(|at| runs.get_mut(at)?.pop_front()) {
            self.push_back(fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::event::Location;
    use crate::domain::id::{DeliveryId, EventId};

    fn fresh(number: u64) -> Fresh {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let location = Location { segment: number, offset: 0, length: 0 };
        Fresh { location, id: DeliveryId { event: EventId::from_bytes(id), ordinal: 0 } }
    }

    fn numbers<'a>(of: impl Iterator<Item = &'a Fresh>) -> Vec<u64> {
        of.map(|fresh| fresh.location.segment).collect()
    }

    /// In small steps, two runs, at random, falling.
    const ORDERS: [fn(u64) -> u64; 4] =
        [|n| n ^ 5, |n| (n & 1) << 32 | n, |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15), |n| !n];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// It does as a plain queue does, in stretches longer than a block.
        #[test]
        fn it_is_a_queue(
            steps in prop::collection::vec((any::<bool>(), 0_usize..3 * BLOCK), 1..12),
            sorts: bool,
            order in prop::sample::select(ORDERS.to_vec()),
        ) {
            let (mut backlog, mut plain, mut next) = (Backlog::default(), VecDeque::new(), 0_u64);
            for (pushes, count) in steps {
                for _ in 0..count {
                    if pushes {
                        next += 1;
                        backlog.push_back(fresh(order(next)));
                        plain.push_back(fresh(order(next)));
                    } else {
                        prop_assert_eq!(backlog.pop_front().map(|one| one.id), plain.pop_front().map(|one| one.id));
                    }
                    prop_assert_eq!(backlog.front().map(|one| one.id), plain.front().map(|one| one.id));
                    prop_assert_eq!(backlog.back().map(|one| one.id), plain.back().map(|one| one.id));
                }
                if sorts {
                    backlog.sort();
                    plain.make_contiguous().sort_by_key(|one| one.id);
                }
                prop_assert_eq!(numbers(backlog.iter()), numbers(plain.iter()));
            }
        }
    }

    #[test]
    fn of_two_with_the_same_id_the_first_stays_first() {
        let mut backlog = Backlog::default();
        for number in [5, 1, 5, 3, 1, 4, 3, 5] {
            let mut one = fresh(number);
            one.location.offset = u32::try_from(backlog.iter().count()).unwrap();
            backlog.push_back(one);
        }
        backlog.sort();
        let places: Vec<_> = backlog.iter().map(|one| (one.location.segment, one.location.offset)).collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn what_is_taken_gives_its_memory_back() {
        let mut backlog = Backlog::default();
        for number in 0..10 * BLOCK as u64 {
            backlog.push_back(fresh(number));
        }
        let room = |backlog: &Backlog| backlog.blocks.iter().map(Vec::capacity).sum::<usize>();
        assert_eq!(room(&backlog), 10 * BLOCK);
        for _ in 0..9 * BLOCK + 1 {
            backlog.pop_front().unwrap();
        }
        assert_eq!(room(&backlog), BLOCK);
        while backlog.pop_front().is_some() {}
        assert_eq!(room(&backlog), 0);
    }
}
