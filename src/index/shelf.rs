//! A sorted map whose rows lie together in packs.
//!
//! sled keeps at most sixteen rows in a page and some two hundred bytes of memory for each page, whether anybody reads it or not,
//! and every row that is written costs it microseconds. So what is one row to it holds a pack: neighbouring rows of together about
//! two kilobytes, under the lowest key that may be in it. It is not known here what rows mean.
//!
//! Invariants: the packs' keys are in order and each pack's rows lie from its own key up to the next one's; a pack carries a
//! checksum over its key and all that is in it. One writer at a time; readers see each pack as it was before or after a write, and
//! pass every row at most once.

use std::ops::Bound;

use sled::{Batch, IVec, Tree};

use super::rows::{seal_keyed, unseal_keyed};
use super::walk::Order;
use super::{IndexError, Result};

/// A key and its new row; `None` removes it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its row.
pub(super) type Row = (IVec, IVec);

/// Bytes of rows from which on a pack is divided. Smaller ones cost more memory, larger ones more writing for a single change.
const PACK_BYTES: usize = 2048;

/// Packs of one write to sled, which is done with all of them or none.
const PACKS_PER_WRITE: usize = 64;

/// Packs that are removed at a time.
const PACKS_REMOVED: usize = 256;

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    tree: Tree,
}

fn damaged() -> IndexError {
    IndexError::Damaged("a pack of rows does not check out".to_owned())
}

/// The rows of a pack, in order.
#[derive(Clone, Debug, Default)]
struct Pack {
    bytes: IVec,
    /// Where each key begins, and where its row begins and ends.
    places: Vec<(u32, u32, u32)>,
}

/// The length of a key or row before it.
const LENGTHS: usize = 6;

impl Pack {
    fn read(key: &[u8], sealed: &IVec) -> Result<Self> {
        let content = unseal_keyed(key, sealed).ok_or_else(damaged)?;
        let mut places = Vec::with_capacity(content.len() / 48 + 1);
        let (mut rest, mut at) = (content, 0_usize);
        while !rest.is_empty() {
            let (lengths, rows) = rest.split_first_chunk::<LENGTHS>().ok_or_else(damaged)?;
            let [k0, k1, r0, r1, r2, r3] = *lengths;
            let key_length = usize::from(u16::from_le_bytes([k0, k1]));
            let row_length = usize::try_from(u32::from_le_bytes([r0, r1, r2, r3])).map_err(|_| damaged())?;
            let whole = key_length.checked_add(row_length).ok_or_else(damaged)?;
            rest = rows.get(whole..).ok_or_else(damaged)?;
            let begin = at + LENGTHS;
            at = begin + whole;
            let place = [begin, begin + key_length, at].map(|place| u32::try_from(place).unwrap_or(u32::MAX));
            places.push((place[0], place[1], place[2]));
        }
        Ok(Self { bytes: sealed.clone(), places })
    }

    fn slice(&self, from: u32, to: u32) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    fn key(&self, at: usize) -> &[u8] {
        self.places.get(at).map_or(&[], |(key, row, _)| self.slice(*key, *row))
    }

    fn row(&self, at: usize) -> &[u8] {
        self.places.get(at).map_or(&[], |(_, row, end)| self.slice(*row, *end))
    }

    fn find(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        self.places.binary_search_by(|(from, to, _)| self.slice(*from, *to).cmp(key))
    }

    /// How many rows have keys below the bound, or also at it.
    fn below(&self, key: &[u8], or_at: bool) -> usize {
        match self.find(key) {
            Ok(at) => at + usize::from(or_at),
            Err(at) => at,
        }
    }

    fn owned(&self, at: usize) -> Option<Row> {
        let (key, row, end) = *self.places.get(at)?;
        let part = |from: u32, to: u32| self.bytes.subslice(from as usize, (to - from) as usize);
        Some((part(key, row), part(row, end)))
    }
}

/// How many rows of a sealed pack can be taken out of it.
pub(super) fn rows_of_pack(key: &[u8], sealed: &[u8]) -> Result<usize> {
    let pack = Pack::read(key, &IVec::from(sealed))?;
    Ok((0..pack.places.len()).filter_map(|at| pack.owned(at)).filter(|(key, _)| pack.find(key).is_ok()).count())
}

impl Shelf {
    pub(super) const fn new(tree: Tree) -> Self {
        Self { tree }
    }

    /// The row of a key.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>> {
        let key = key.as_ref();
        let Some((_, pack)) = self.pack_of(key)? else { return Ok(None) };
        Ok(pack.find(key).ok().and_then(|at| pack.owned(at)).map(|(_, row)| row))
    }

    /// Rows from `start` on, below `end` if there is one, in either order.
    pub(super) fn range(&self, start: &[u8], end: Option<&[u8]>, order: Order) -> Result<Rows> {
        let first = self.pack_of(start)?.map_or_else(|| start.to_vec(), |(key, _)| key.to_vec());
        let packs = match end {
            Some(end) if end <= start => None,
            Some(end) => Some(self.tree.range::<&[u8], _>((Bound::Included(&first[..]), Bound::Excluded(end)))),
            None => Some(self.tree.range(first..)),
        };
        let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
        Ok(Rows { packs, order, start, end, pack: Pack::default(), left: 0..0, last: None })
    }

    /// Rows whose keys begin with `prefix`, in order.
    pub(super) fn prefixed(&self, prefix: &[u8]) -> Result<Rows> {
        self.range(prefix, after_prefix(prefix).as_deref(), Order::OldestFirst)
    }

    /// All rows, in order.
    pub(super) fn iter(&self) -> Result<Rows> {
        self.range(&[], None, Order::OldestFirst)
    }

    /// Applies changes; of two to one key the later wins.
    pub(super) fn apply(&self, mut changes: Vec<Change>) -> Result<()> {
        // Stable: what came later stays later.
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        let mut changes = changes.into_iter().peekable();
        let mut batch = Batch::default();
        let mut packs = 0;
        while let Some((first, _)) = changes.peek() {
            let found = self.pack_of(first)?;
            let next = self.tree.get_gt(first)?.map(|(key, _)| key);
            let mut mine = Vec::new();
            while let Some(change) = changes.next_if(|(key, _)| next.as_ref().is_none_or(|next| key[..] < next[..])) {
                match mine.last_mut() {
                    Some((key, row)) if *key == change.0 => *row = change.1,
                    _ => mine.push(change),
                }
            }
            let (key, pack) = match found {
                Some((key, pack)) => (Some(key), pack),
                None => (None, Pack::default()),
            };
            packs += rewrite(&mut batch, key, &pack, &mine, next.is_none());
            if packs >= PACKS_PER_WRITE {
                self.tree.apply_batch(std::mem::take(&mut batch))?;
                packs = 0;
            }
        }
        if packs > 0 {
            self.tree.apply_batch(batch)?;
        }
        Ok(())
    }

    /// Removes the first packs, as many as are passed over in a moment; tells whether that was the last of them. sled drops a tree
    /// in one go, with all of it in memory and on the thread of whoever comes along.
    pub(super) fn remove_some(&self) -> Result<bool> {
        let mut batch = Batch::default();
        let mut packs = 0;
        for key in self.tree.iter().keys().take(PACKS_REMOVED) {
            batch.remove(key?);
            packs += 1;
        }
        self.tree.apply_batch(batch)?;
        Ok(packs < PACKS_REMOVED)
    }

    /// The pack that a key is in, if it is in any.
    fn pack_of(&self, key: &[u8]) -> Result<Option<(IVec, Pack)>> {
        let Some(item) = self.tree.range::<&[u8], _>(..=key).next_back() else { return Ok(None) };
        let (key, sealed) = item?;
        let pack = Pack::read(&key, &sealed)?;
        Ok(Some((key, pack)))
    }
}

/// The lowest key above all that begin with `prefix`; `None` when there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < u8::MAX {
            after.push(last + 1);
            return Some(after);
        }
    }
    None
}

/// Puts a pack with its changes, all of them to keys that belong in it, into the batch; tells how many packs that is.
fn rewrite(batch: &mut Batch, key: Option<IVec>, pack: &Pack, changes: &[Change], is_last: bool) -> usize {
    let mut rows: Vec<(&[u8], &[u8])> = Vec::with_capacity(pack.places.len() + changes.len());
    let mut old = 0;
    for (at, row) in changes {
        let until = pack.below(at, false).max(old);
        rows.extend((old..until).map(|place| (pack.key(place), pack.row(place))));
        old = until + usize::from(pack.key(until) == &at[..] && until < pack.places.len());
        rows.extend(row.as_deref().map(|row| (&at[..], row)));
    }
    let appends = old == pack.places.len() && is_last;
    rows.extend((old..pack.places.len()).map(|place| (pack.key(place), pack.row(place))));
    let Some((lowest, _)) = rows.first() else {
        if let Some(key) = key {
            batch.remove(key);
        }
        return 1;
    };
    let bytes = |(key, row): &(&[u8], &[u8])| LENGTHS + key.len() + row.len();
    let total: usize = rows.iter().map(bytes).sum();
    // What only grows at its end is filled up; in the middle, the parts have room for more.
    let parts = total.div_ceil(if appends { PACK_BYTES } else { PACK_BYTES * 3 / 4 }).max(1);
    let full = if total <= PACK_BYTES { total } else { total.div_ceil(parts) };
    let mut under = key.unwrap_or_else(|| IVec::from(*lowest));
    let (mut content, mut count) = (Vec::with_capacity(full + 64), 0);
    for (place, row) in rows.iter().enumerate() {
        if !content.is_empty() && content.len() + bytes(row) > full.max(1) + LENGTHS {
            batch.insert(&under, seal_keyed(&under, std::mem::take(&mut content)));
            under = IVec::from(row.0);
            count += 1;
        }
        put(&mut content, row.0, row.1);
        if place + 1 == rows.len() {
            batch.insert(&under, seal_keyed(&under, std::mem::take(&mut content)));
            count += 1;
        }
    }
    count
}

fn put(content: &mut Vec<u8>, key: &[u8], row: &[u8]) {
    // Keys are ids and references, which are shorter by far.
    content.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    content.extend_from_slice(&u32::try_from(row.len()).unwrap_or(u32::MAX).to_le_bytes());
    content.extend_from_slice(key);
    content.extend_from_slice(row);
}

/// Rows in order.
pub(super) struct Rows {
    packs: Option<sled::Iter>,
    order: Order,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    pack: Pack,
    /// Places in the pack that are still to come.
    left: std::ops::Range<usize>,
    /// The key given last: a pack that was divided meanwhile shows some rows again.
    last: Option<IVec>,
}

impl Rows {
    fn next_pack(&mut self) -> Result<bool> {
        let packs = self.packs.as_mut();
        let item = packs.and_then(|packs| match self.order {
            Order::OldestFirst => packs.next(),
            Order::NewestFirst => packs.next_back(),
        });
        let Some(item) = item else { return Ok(false) };
        let (key, sealed) = item?;
        self.pack = Pack::read(&key, &sealed)?;
        let (mut from, mut to) = (self.pack.below(&self.start, false), self.pack.places.len());
        if let Some(end) = &self.end {
            to = self.pack.below(end, false);
        }
        match (&self.last, self.order) {
            (Some(last), Order::OldestFirst) => from = from.max(self.pack.below(last, true)),
            (Some(last), Order::NewestFirst) => to = to.min(self.pack.below(last, false)),
            (None, _) => {}
        }
        self.left = from..to.max(from);
        Ok(true)
    }

    fn step(&mut self) -> Result<Option<Row>> {
        loop {
            let at = match self.order {
                Order::OldestFirst => self.left.next(),
                Order::NewestFirst => self.left.next_back(),
            };
            if let Some(row) = at.and_then(|at| self.pack.owned(at)) {
                if self.left.is_empty() {
                    self.last = Some(row.0.clone());
                }
                return Ok(Some(row));
            }
            if !self.next_pack()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn shelf() -> (sled::Db, Shelf) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let shelf = Shelf::new(db.open_tree("rows").unwrap());
        (db, shelf)
    }

    fn pairs(rows: Rows) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.map(|row| row.map(|(key, row)| (key.to_vec(), row.to_vec())).unwrap()).collect()
    }

    #[test]
    fn what_grows_at_its_end_fills_its_packs() {
        let (_db, shelf) = shelf();
        for from in (0..10_000_u32).step_by(500) {
            let rows = (from..from + 500).map(|number| (number.to_be_bytes().to_vec(), Some(vec![7; 50])));
            shelf.apply(rows.collect()).unwrap();
        }
        let packs = shelf.tree.len();
        assert!(packs <= 10_000 * 60 / 900, "{packs} packs");
        assert_eq!(shelf.iter().unwrap().count(), 10_000);
        shelf.apply((0..10_000_u32).map(|number| (number.to_be_bytes().to_vec(), None)).collect()).unwrap();
        assert_eq!((shelf.tree.len(), shelf.iter().unwrap().count()), (0, 0));
    }

    #[test]
    fn what_is_removed_bit_by_bit_is_gone_in_the_end() {
        let (_db, shelf) = shelf();
        assert!(shelf.remove_some().unwrap(), "nothing");
        shelf
            .apply((0..40_000_u32).map(|number| (number.to_be_bytes().to_vec(), Some(vec![7; 50]))).collect())
            .unwrap();
        let mut left = 40_000;
        while !shelf.remove_some().unwrap() {
            let now = shelf.iter().unwrap().count();
            assert!(now < left && now > 0, "{now} of {left}");
            left = now;
        }
        assert_eq!((shelf.tree.len(), left > 0), (0, true));
    }

    /// Packs that are divided while somebody walks over them.
    #[test]
    fn a_walk_passes_each_row_once_whatever_is_written_meanwhile() {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let (_db, shelf) = shelf();
            let even = |number: u32| (number * 2).to_be_bytes().to_vec();
            shelf.apply((0..400).map(|number| (even(number), Some(vec![1; 40]))).collect()).unwrap();
            let mut seen = Vec::new();
            for row in shelf.range(&[], None, order).unwrap() {
                let key = u32::from_be_bytes((*row.unwrap().0).try_into().unwrap());
                if key % 2 == 0 {
                    seen.push(key);
                    let odd = (key.saturating_sub(20)..key + 20).filter(|key| key % 2 == 1);
                    shelf.apply(odd.map(|key| (key.to_be_bytes().to_vec(), Some(vec![2; 90]))).collect()).unwrap();
                }
            }
            let mut all: Vec<u32> = (0..400).map(|number| number * 2).collect();
            if order == Order::NewestFirst {
                all.reverse();
            }
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn a_pack_under_another_key_or_with_another_byte_is_refused() {
        let (_db, shelf) = shelf();
        shelf.apply(vec![(b"a".to_vec(), Some(b"one".to_vec())), (b"b".to_vec(), Some(b"two".to_vec()))]).unwrap();
        let (key, sealed) = shelf.tree.first().unwrap().unwrap();
        for at in 0..sealed.len() {
            let mut bytes = sealed.to_vec();
            bytes[at] ^= 4;
            shelf.tree.insert(&key, bytes).unwrap();
            assert!(shelf.get("b").is_err() && shelf.iter().unwrap().any(|row| row.is_err()), "byte {at}");
        }
        shelf.tree.clear().unwrap();
        shelf.tree.insert("aa", sealed).unwrap();
        assert!(shelf.get("b").is_err());
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(
            writes in proptest::collection::vec(
                proptest::collection::vec((proptest::collection::vec(0_u8..4, 0..5), proptest::option::of(0_usize..700)), 1..60),
                1..12,
            ),
            ranges in proptest::collection::vec(
                (proptest::collection::vec(0_u8..5, 0..5), proptest::option::of(proptest::collection::vec(0_u8..5, 0..5))),
                8,
            ),
        ) {
            let (_db, shelf) = shelf();
            let mut model = BTreeMap::new();
            for write in writes {
                let changes: Vec<Change> =
                    write.into_iter().map(|(key, length)| (key, length.map(|length| vec![5; length]))).collect();
                for (key, row) in &changes {
                    match row {
                        Some(row) => model.insert(key.clone(), row.clone()),
                        None => model.remove(key),
                    };
                }
                shelf.apply(changes).unwrap();
            }
            let all: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(&pairs(shelf.iter().unwrap()), &all);
            for (start, end) in ranges {
                let inside = |key: &Vec<u8>| *key >= start && end.as_ref().is_none_or(|end| key < end);
                let mut wanted: Vec<_> = all.iter().filter(|(key, _)| inside(key)).cloned().collect();
                let range = |order| pairs(shelf.range(&start, end.as_deref(), order).unwrap());
                prop_assert_eq!(&range(Order::OldestFirst), &wanted);
                wanted.reverse();
                prop_assert_eq!(&range(Order::NewestFirst), &wanted);
                let begins: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(&start)).cloned().collect();
                prop_assert_eq!(&pairs(shelf.prefixed(&start).unwrap()), &begins);
                prop_assert_eq!(shelf.get(&start).unwrap().map(|row| row.to_vec()), model.get(&start).cloned());
            }
        }
    }
}
