//! A sorted map whose rows lie together in packs.
//!
//! sled keeps at most sixteen rows in a page and some two hundred bytes of memory for each page, whether anybody reads it or not,
//! and every row that is written costs it microseconds. So what is one row to it holds a pack: neighbouring rows of together about
//! two kilobytes, under the lowest key that may be in it. What is written to no longer moves on to tables; what changes in one
//! after all is in sled again, where a pack counts before one of the same key in a table. It is not known here what rows mean.
//!
//! Invariants: the packs' keys are in order and each pack's rows lie from its own key up to the next one's; a pack carries a
//! checksum over its key and all that is in it. One writer at a time; readers see each pack as it was before or after a write, and
//! pass every row at most once.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sled::{Batch, IVec, Tree};

use super::Result;
use super::near::Near;
use super::pack::{PACK_BYTES, Pack, Packing, Row, is_empty};
use super::sealed::{Removed, Sealed};
use super::table::{Entries, Entry, Table, TableWriter, Tables};
use super::walk::Order;

/// A key and its new row; `None` removes it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Packs of one write to sled, which is done with all of them or none.
const PACKS_PER_WRITE: usize = 64;

/// Packs that are removed at a time.
const PACKS_REMOVED: usize = 256;

/// How often a pack that is read in passing is looked at. sled looks for what may leave its cache after 64 accesses in one of 256
/// parts of its pages, a page has at most sixteen packs, and who reads a lot once would leave all of it there.
const LOOKED_AT: usize = 4;

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    tree: Tree,
    sealed: Option<Arc<Sealed>>,
}

/// A pack and where it was found.
struct FoundPack {
    key: IVec,
    pack: Pack,
    /// In tables only, so what changes is one pack more for sled.
    is_sealed: bool,
}

impl Shelf {
    /// One that is in sled alone.
    pub(super) const fn new(tree: Tree) -> Self {
        Self { tree, sealed: None }
    }

    /// One that has tables, or may get some.
    pub(super) const fn with_tables(tree: Tree, sealed: Arc<Sealed>) -> Self {
        Self { tree, sealed: Some(sealed) }
    }

    /// Its tables, if it can have some.
    pub(super) fn sealed(&self) -> Option<&Arc<Sealed>> {
        self.sealed.as_ref()
    }

    /// The tables that there are, which whoever reads takes before it looks into sled.
    fn tables(&self) -> Option<Arc<Tables>> {
        self.sealed.as_ref().map(|sealed| sealed.tables())
    }

    /// The row of a key.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>> {
        let key = key.as_ref();
        let Some(FoundPack { pack, .. }) = self.pack_of(key)? else { return Ok(None) };
        Ok(pack.find(key).ok().and_then(|at| pack.owned(at)).map(|(_, row)| row))
    }

    /// As [`Self::get`], for who reads many that lie close together while nobody writes.
    pub(super) fn get_near(&self, key: impl AsRef<[u8]>, near: &mut Near) -> Result<Option<IVec>> {
        let key = key.as_ref();
        let row = |pack: &Pack| pack.find(key).ok().and_then(|at| pack.owned(at)).map(|(_, row)| row);
        if let Some(pack) = near.find(key) {
            return Ok(row(pack));
        }
        let Some(FoundPack { key: from, pack, .. }) = self.pack_of(key)? else { return Ok(None) };
        let found = row(&pack);
        near.put(from, self.key_above(key)?, pack);
        Ok(found)
    }

    /// Rows from `start` on, below `end` if there is one, in either order.
    pub(super) fn range(&self, start: &[u8], end: Option<&[u8]>, order: Order) -> Result<Rows> {
        let first = self.pack_of(start)?.map_or_else(|| start.to_vec(), |found| found.key.to_vec());
        let packs = match end {
            Some(end) if end <= start => None,
            end => Some(self.packs(&first, end, order)),
        };
        let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
        Ok(Rows { packs, order, start, end, pack: Pack::default(), left: 0..0, last: None })
    }

    /// Packs whose own keys are from `start` on, below `end` if there is one, in either order.
    pub(super) fn packs(&self, start: &[u8], end: Option<&[u8]>, order: Order) -> Packs {
        // Also where there are none: as long as these are held, nothing that they do not have leaves sled.
        let of_tables = self.tables().map(|tables| Entries::new(tables, start, end, order));
        let of_sled = match end {
            Some(end) if end <= start => None,
            Some(end) => Some(self.tree.range::<&[u8], _>((Bound::Included(start), Bound::Excluded(end)))),
            None => Some(self.tree.range(start..)),
        };
        Packs { order, of_sled, of_tables, next_of_sled: None, next_of_tables: None, passed: None }
    }

    /// Rows from `start` on, in order, for whoever reads many of them, and will not again.
    pub(super) fn in_passing(&self, start: &[u8]) -> Result<Rows> {
        let mut rows = self.range(start, None, Order::OldestFirst)?;
        rows.packs = rows.packs.map(|packs| Packs { passed: Some(self.tree.clone()), ..packs });
        Ok(rows)
    }

    /// Rows whose keys begin with `prefix`, in order.
    pub(super) fn prefixed(&self, prefix: &[u8]) -> Result<Rows> {
        self.range(prefix, after_prefix(prefix).as_deref(), Order::OldestFirst)
    }

    /// All rows, in order.
    pub(super) fn iter(&self) -> Result<Rows> {
        self.range(&[], None, Order::OldestFirst)
    }

    /// Applies changes; of two to one key the later wins. Tells how many packs were written.
    pub(super) fn apply(&self, mut changes: Vec<Change>) -> Result<usize> {
        // Stable: what came later stays later.
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        let leaves_empty = self.sealed.as_ref().is_some_and(|sealed| sealed.may_have_packs());
        let mut changes = changes.into_iter().peekable();
        let mut batch = Batch::default();
        let (mut packs, mut all) = (0, 0);
        while let Some((first, _)) = changes.peek() {
            let found = self.pack_of(first)?;
            let next = self.key_above(first)?;
            let mut mine = Vec::new();
            while let Some(change) = changes.next_if(|(key, _)| next.as_ref().is_none_or(|next| key[..] < next[..])) {
                match mine.last_mut() {
                    Some((key, row)) if *key == change.0 => *row = change.1,
                    _ => mine.push(change),
                }
            }
            let is_known = found.as_ref().is_some_and(|found| !found.is_sealed);
            let (key, pack) = match found {
                Some(found) => (Some(found.key), found.pack),
                None => (None, Pack::default()),
            };
            let rewritten = Rewrite { pack: &pack, changes: &mine, is_last: next.is_none(), leaves_empty };
            let written = rewritten.put(&mut batch, key);
            self.grew(mine.first().map_or(&[], |(key, _)| key), written.saturating_sub(usize::from(is_known)));
            (packs, all) = (packs + written, all + written);
            if packs >= PACKS_PER_WRITE {
                self.tree.apply_batch(std::mem::take(&mut batch))?;
                packs = 0;
            }
        }
        if packs > 0 {
            self.tree.apply_batch(batch)?;
        }
        Ok(all)
    }

    /// Notes that there are more packs in sled, around this key.
    fn grew(&self, key: &[u8], packs: usize) {
        let Some(sealed) = self.sealed.as_ref().filter(|_| packs > 0) else { return };
        let tables = sealed.tables();
        let at = tables.table_of(key).unwrap_or_default();
        let is_behind_all = tables.all().last().is_none_or(|last| *last.last < *key);
        let table = tables.all().get(at).filter(|_| !is_behind_all);
        match table {
            None => sealed.appended().came(packs, key),
            Some(table) => drop(table.overlaid.fetch_add(packs, Ordering::Relaxed)),
        }
    }

    /// Removes the first of it, as much as is passed over in a moment; tells whether that was the last. sled drops a tree in one go,
    /// with all of it in memory and on the thread of whoever comes along. Tables go first: sled has what is newer, and if this is
    /// broken off, it must not be what is older that is left.
    pub(super) fn remove_some(&self) -> Result<bool> {
        if let Some(sealed) = &self.sealed {
            sealed.retire_all();
            if sealed.remove_some()? != Removed::All {
                return Ok(false);
            }
        }
        let mut batch = Batch::default();
        let mut packs = 0;
        for key in self.tree.iter().keys().take(PACKS_REMOVED) {
            batch.remove(key?);
            packs += 1;
        }
        self.tree.apply_batch(batch)?;
        Ok(packs < PACKS_REMOVED)
    }

    /// Removes packs from sled that a table has as well, of those from `start` on and below `end`, and looks at so many at most.
    /// Gives where to go on, `None` when that was the last. Nobody may read by what there was before the table.
    pub(super) fn remove_sealed(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        most: usize,
        table: &Table,
    ) -> Result<Option<Vec<u8>>> {
        let Some(tables) = self.tables() else { return Ok(None) };
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut batch, mut next, mut looked_at) = (Batch::default(), None, 0);
        for item in self.tree.range::<&[u8], _>((Bound::Included(start), end)) {
            let (key, sealed) = item?;
            if looked_at == most {
                next = Some(key.to_vec());
                break;
            }
            looked_at += 1;
            match tables.get(&key)? {
                Some(same) if same == sealed => batch.remove(key),
                None if is_empty(&sealed) => batch.remove(key),
                _ if *table.first() <= *key && key <= table.last => {
                    table.overlaid.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        self.tree.apply_batch(batch)?;
        Ok(next)
    }

    /// Copies packs that have rows to a table, from `start` on and below `end`, at most so many. Gives where to go on, `None` when
    /// that was the last.
    pub(super) fn copy_some(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        most: usize,
        to: &mut TableWriter,
    ) -> Result<Option<Vec<u8>>> {
        let packs = Packs { passed: Some(self.tree.clone()), ..self.packs(start, end, Order::OldestFirst) };
        for (count, item) in packs.enumerate() {
            let (key, sealed) = item?;
            if count == most {
                return Ok(Some(key.to_vec()));
            }
            if !is_empty(&sealed) {
                to.push(&key, &sealed)?;
            }
        }
        Ok(None)
    }

    /// Whether sled has at least so many packs from `start` on.
    pub(super) fn has_packs(&self, start: &[u8], at_least: usize) -> Result<bool> {
        Ok(self.tree.range(start..).keys().take(at_least).collect::<std::result::Result<Vec<_>, _>>()?.len()
            == at_least)
    }

    /// The pack that a key is in, if it is in any.
    fn pack_of(&self, key: &[u8]) -> Result<Option<FoundPack>> {
        let tables = self.tables();
        let of_sled = self.tree.range::<&[u8], _>(..=key).next_back().transpose()?;
        let of_tables = match &tables {
            Some(tables) => {
                let last = tables.all().last().map(|table| &table.last);
                let is_behind = of_sled.as_ref().is_some_and(|(of_sled, _)| last.is_none_or(|last| last <= of_sled));
                if is_behind { None } else { tables.at_or_below(key)? }
            }
            None => None,
        };
        let is_sealed = match (&of_sled, &of_tables) {
            (Some((of_sled, _)), Some(entry)) => *of_sled < entry.key,
            (_, of_tables) => of_tables.is_some(),
        };
        let found = match of_tables.filter(|_| is_sealed) {
            Some(entry) => Some((entry.key.clone(), entry.read()?)),
            None => of_sled,
        };
        let Some((key, sealed)) = found else { return Ok(None) };
        let pack = Pack::read(&key, &sealed)?;
        Ok(Some(FoundPack { key, pack, is_sealed }))
    }

    /// The key of the first pack above this one.
    fn key_above(&self, key: &[u8]) -> Result<Option<IVec>> {
        let tables = self.tables();
        let of_sled = self.tree.get_gt(key)?.map(|(key, _)| key);
        let of_tables = tables.map(|tables| tables.key_above(key)).transpose()?.flatten();
        Ok(of_sled.into_iter().chain(of_tables).min())
    }
}

/// Packs in order, each as it counts.
pub(super) struct Packs {
    order: Order,
    of_sled: Option<sled::Iter>,
    of_tables: Option<Entries>,
    next_of_sled: Option<Row>,
    next_of_tables: Option<Entry>,
    /// What is read in passing only.
    passed: Option<Tree>,
}

impl Packs {
    fn step(&mut self) -> Result<Option<Row>> {
        if self.next_of_tables.is_none()
            && let Some(of_tables) = &mut self.of_tables
        {
            self.next_of_tables = of_tables.next().transpose()?;
        }
        if self.next_of_sled.is_none()
            && let Some(of_sled) = &mut self.of_sled
        {
            let next = match self.order {
                Order::OldestFirst => of_sled.next(),
                Order::NewestFirst => of_sled.next_back(),
            };
            self.next_of_sled = next.transpose()?;
            if let (Some(tree), Some((key, _))) = (&self.passed, &self.next_of_sled) {
                for _ in 0..LOOKED_AT {
                    tree.get(key)?;
                }
            }
        }
        let Some(of_tables) = &self.next_of_tables else { return Ok(self.next_of_sled.take()) };
        if let Some((of_sled, _)) = &self.next_of_sled {
            if *of_sled == of_tables.key {
                self.next_of_tables = None;
                return Ok(self.next_of_sled.take());
            }
            if (*of_sled < of_tables.key) == (self.order == Order::OldestFirst) {
                return Ok(self.next_of_sled.take());
            }
        }
        let Some(entry) = self.next_of_tables.take() else { return Ok(None) };
        Ok(Some((entry.key.clone(), entry.read()?)))
    }
}

impl Iterator for Packs {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
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

/// A pack and its changes, all of them to keys that belong in it.
struct Rewrite<'a> {
    pack: &'a Pack,
    changes: &'a [Change],
    /// No pack is behind it.
    is_last: bool,
    /// A pack without rows stays, as an empty one.
    leaves_empty: bool,
}

impl Rewrite<'_> {
    /// Puts what it becomes into the batch; tells how many packs that is.
    fn put(&self, batch: &mut Batch, key: Option<IVec>) -> usize {
        let pack = self.pack;
        let mut rows: Vec<(&[u8], &[u8])> = Vec::with_capacity(pack.len() + self.changes.len());
        let mut old = 0;
        for (at, row) in self.changes {
            let until = pack.below(at, false).max(old);
            rows.extend((old..until).map(|place| (pack.key(place), pack.row(place))));
            old = until + usize::from(pack.key(until) == &at[..] && until < pack.len());
            rows.extend(row.as_deref().map(|row| (&at[..], row)));
        }
        let appends = old == pack.len() && self.is_last;
        rows.extend((old..pack.len()).map(|place| (pack.key(place), pack.row(place))));
        let Some((lowest, _)) = rows.first() else {
            match key {
                Some(key) if self.leaves_empty => batch.insert(&key, Packing::default().seal(&key)),
                Some(key) => batch.remove(key),
                None => {}
            }
            return 1;
        };
        let bytes = |(key, row): &(&[u8], &[u8])| Packing::bytes_of(key, row);
        let total: usize = rows.iter().map(bytes).sum();
        // What only grows at its end is filled up; in the middle, the parts have room for more.
        let parts = total.div_ceil(if appends { PACK_BYTES } else { PACK_BYTES * 3 / 4 }).max(1);
        let full = if total <= PACK_BYTES { total } else { total.div_ceil(parts) };
        // A row more is not too much.
        let most = full.max(1) + Packing::bytes_of(&[], &[]);
        let mut under = key.unwrap_or_else(|| IVec::from(*lowest));
        let (mut packing, mut count) = (Packing::with_capacity(full + 64), 0);
        for (place, row) in rows.iter().enumerate() {
            if packing.bytes() > 0 && packing.bytes() + bytes(row) > most {
                batch.insert(&under, packing.seal(&under));
                under = IVec::from(row.0);
                count += 1;
            }
            packing.put(row.0, row.1);
            if place + 1 == rows.len() {
                batch.insert(&under, packing.seal(&under));
                count += 1;
            }
        }
        count
    }
}

/// Rows in order.
pub(super) struct Rows {
    packs: Option<Packs>,
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
        let Some(item) = self.packs.as_mut().and_then(Packs::next) else { return Ok(false) };
        let (key, sealed) = item?;
        self.pack = Pack::read(&key, &sealed)?;
        let (mut from, mut to) = (self.pack.below(&self.start, false), self.pack.len());
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
            let mut near = Near::default();
            for key in ranges.iter().map(|(key, _)| key).chain(model.keys()) {
                prop_assert_eq!(shelf.get_near(key, &mut near).unwrap().map(|row| row.to_vec()), model.get(key).cloned());
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
