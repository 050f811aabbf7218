//! Pending deliveries by id, with little memory for each: millions may wait. Pure.
//!
//! They come about in order of their ids, so they lie in order in blocks. Most were never tried, and how such a delivery stands
//! is told by its id. It reads no journal.
//!
//! Invariants: each block's entries rise by id, from the block's own key up to the next one's; `left` of them are not gone, at
//! least a third, and never none; `tried` has only what is here.

use std::collections::{BTreeMap, HashMap};

use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::index::Pending;

/// Entries of a block; 40 KiB.
const BLOCK: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    location: Location,
    event: EventId,
    /// Its place in the list.
    webhook: u32,
    ordinal: u16,
    gone: bool,
}

impl Entry {
    const fn id(&self) -> DeliveryId {
        DeliveryId { event: self.event, ordinal: self.ordinal }
    }
}

#[derive(Debug, Default)]
struct Block {
    entries: Vec<Entry>,
    left: usize,
}

impl Block {
    fn find(&mut self, id: DeliveryId) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&id, Entry::id).ok()?;
        self.entries.get_mut(at).filter(|entry| !entry.gone)
    }

    /// Puts one in that is not here, or gone.
    fn insert(&mut self, entry: Entry) {
        self.left += 1;
        let at = self.entries.binary_search_by_key(&entry.id(), Entry::id);
        let at = at.unwrap_or_else(|at| {
            self.entries.insert(at, entry);
            at
        });
        if let Some(own) = self.entries.get_mut(at) {
            *own = entry;
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    blocks: BTreeMap<DeliveryId, Block>,
    /// How those stand that do not stand as when they were accepted.
    tried: HashMap<DeliveryId, Delivery>,
    webhooks: Vec<WebhookId>,
    places: HashMap<WebhookId, u32>,
    count: usize,
}

impl Outstanding {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    fn block_of(&mut self, id: DeliveryId) -> Option<(&DeliveryId, &mut Block)> {
        self.blocks.range_mut(..=id).next_back()
    }

    /// Puts one in, in place of what there was under its id.
    pub(super) fn insert(&mut self, one: Pending) {
        self.remove(one.id);
        if one.delivery != Delivery::accepted(one.id.event.created_at()) {
            self.tried.insert(one.id, one.delivery);
        }
        let webhook = *self.places.entry(one.webhook).or_insert_with(|| {
            self.webhooks.push(one.webhook);
            // There are thousands at the most.
            u32::try_from(self.webhooks.len() - 1).unwrap_or(u32::MAX)
        });
        let DeliveryId { event, ordinal } = one.id;
        let entry = Entry { location: one.location, event, webhook, ordinal, gone: false };
        self.count += 1;
        // In front of all there is no block for it yet: the first takes it, under another key.
        let (key, mut block) = match self.block_of(one.id) {
            Some((_, block)) if block.entries.len() < BLOCK => return block.insert(entry),
            Some((key, block)) => (*key, std::mem::take(block)),
            None => self.blocks.pop_first().unwrap_or((one.id, Block::default())),
        };
        self.blocks.remove(&key);
        block.insert(entry);
        block.entries.retain(|entry| !entry.gone);
        // What grows at its end leaves full blocks behind; in the middle, both halves get room.
        let at_end = block.entries.last().is_some_and(|last| last.id() == one.id);
        let lower = block.entries.len().min(if at_end { BLOCK } else { BLOCK / 2 });
        let is_over = block.entries.len() > BLOCK;
        let upper = if is_over { block.entries.split_off(lower) } else { Vec::new() };
        for mut entries in [block.entries, upper] {
            if let Some(first) = entries.first().map(Entry::id) {
                entries.shrink_to(BLOCK);
                self.blocks.insert(first, Block { left: entries.len(), entries });
            }
        }
    }

    /// Whether it is among them; if so, it stands like this from now on.
    pub(super) fn update(&mut self, id: DeliveryId, delivery: Delivery) -> bool {
        let is_known = self.block_of(id).is_some_and(|(_, block)| block.find(id).is_some());
        if is_known {
            self.tried.insert(id, delivery);
        }
        is_known
    }

    pub(super) fn remove(&mut self, id: DeliveryId) {
        let Some((key, block)) = self.block_of(id) else { return };
        let Some(entry) = block.find(id) else { return };
        entry.gone = true;
        block.left -= 1;
        if block.left == 0 {
            let key = *key;
            self.blocks.remove(&key);
        } else if block.left * 3 < block.entries.len() {
            block.entries.retain(|entry| !entry.gone);
            block.entries.shrink_to_fit();
        }
        self.count -= 1;
        self.tried.remove(&id);
    }

    /// All, in order of their ids; their memory is given back on the way.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Pending> {
        let Self { blocks, mut tried, webhooks, .. } = self;
        let left = blocks.into_values().flat_map(|block| block.entries).filter(|entry| !entry.gone);
        left.filter_map(move |entry| {
            let id = entry.id();
            let delivery = tried.remove(&id).unwrap_or_else(|| Delivery::accepted(id.event.created_at()));
            let webhook = *webhooks.get(entry.webhook as usize)?;
            Some(Pending { id, webhook, location: entry.location, delivery })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::State;
    use crate::domain::time::Timestamp;

    fn pending(number: u64, webhook: u8) -> Pending {
        let mut event = [0; 16];
        event[8..].copy_from_slice(&number.to_be_bytes());
        let id = DeliveryId { event: EventId::from_bytes(event), ordinal: 1 };
        let location = Location { segment: number, offset: u32::from(webhook), length: 1 };
        let delivery = Delivery::accepted(id.event.created_at());
        Pending { id, webhook: WebhookId::from_bytes([webhook; 16]), location, delivery }
    }

    fn tried(made: u16) -> Delivery {
        Delivery::from_parts(State::Pending, Some(Timestamp::from_millis(7)), None, made, u32::from(made)).unwrap()
    }

    fn is_in_order(outstanding: &Outstanding) {
        let mut next: Vec<_> = outstanding.blocks.keys().copied().skip(1).collect();
        next.push(pending(u64::MAX, 0).id);
        for ((key, block), next) in outstanding.blocks.iter().zip(next) {
            let ids: Vec<_> = block.entries.iter().map(Entry::id).collect();
            assert!(ids.is_sorted() && ids.first().is_some_and(|first| first >= key) && ids.last() < Some(&next));
            let left = block.entries.iter().filter(|entry| !entry.gone).count();
            assert!(left == block.left && left > 0 && left * 3 >= ids.len() && ids.len() <= BLOCK);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { from: u64, count: u64, apart: u64, webhook: u8 },
        Remove { from: u64, count: u64, apart: u64 },
        Update { from: u64, count: u64, apart: u64, made: u16 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let (from, count, apart) = (0_u64..6000, 1_u64..3000, 1_u64..4);
        prop_oneof![
            (from.clone(), count.clone(), apart.clone(), 0_u8..3)
                .prop_map(|(from, count, apart, webhook)| Step::Insert { from, count, apart, webhook }),
            (from.clone(), count.clone(), apart.clone()).prop_map(|(from, count, apart)| Step::Remove {
                from,
                count,
                apart
            }),
            (from, count, apart, 1_u16..9).prop_map(|(from, count, apart, made)| Step::Update {
                from,
                count,
                apart,
                made
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec(step(), 1..12), backwards: bool) {
            let (mut outstanding, mut model) = (Outstanding::default(), BTreeMap::new());
            for step in steps {
                let (Step::Insert { from, count, apart, .. }
                | Step::Remove { from, count, apart }
                | Step::Update { from, count, apart, .. }) = step;
                let mut numbers: Vec<_> = (0..count).map(|at| from + at * apart).collect();
                if backwards {
                    numbers.reverse();
                }
                for number in numbers {
                    let id = pending(number, 0).id;
                    match step {
                        Step::Insert { webhook, .. } => {
                            outstanding.insert(pending(number, webhook));
                            model.insert(id, pending(number, webhook));
                        }
                        Step::Remove { .. } => {
                            outstanding.remove(id);
                            model.remove(&id);
                        }
                        Step::Update { made, .. } => {
                            let known = model.get_mut(&id).map(|one| one.delivery = tried(made)).is_some();
                            prop_assert_eq!(outstanding.update(id, tried(made)), known);
                        }
                    }
                }
                is_in_order(&outstanding);
                prop_assert_eq!(outstanding.len(), model.len());
            }
            prop_assert!(outstanding.tried.keys().all(|id| model.contains_key(id)));
            prop_assert_eq!(outstanding.into_iter().collect::<Vec<_>>(), model.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_that_are_left_of_many_take_little_memory() {
        let mut outstanding = Outstanding::default();
        for number in 0..100 * BLOCK as u64 {
            outstanding.insert(pending(number, 1));
            if number % 500 != 0 {
                outstanding.remove(pending(number, 1).id);
            }
        }
        let room: usize = outstanding.blocks.values().map(|block| block.entries.capacity()).sum();
        assert!(outstanding.len() == 100 * BLOCK / 500 + 1 && room < 6 * BLOCK, "room for {room}");
    }

    #[test]
    fn many_take_hardly_more_than_they_need() {
        assert_eq!(size_of::<Entry>(), 40);
        let mut outstanding = Outstanding::default();
        for number in 0..100 * BLOCK as u64 {
            outstanding.insert(pending(number, 1));
        }
        let room: usize = outstanding.blocks.values().map(|block| block.entries.capacity()).sum();
        assert!(room <= 102 * BLOCK, "room for {room}");
    }
}
