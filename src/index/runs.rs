//! What events are found by: their references, and the keys they were posted with.
//!
//! These come in random order, so a tree of many of them would have a page read and written for each. Instead the newest are kept
//! in memory, sorted, and written out by the thousands, each time behind what the last run has or as a new run: whoever searches
//! looks through a day's runs, of which there are few, and through what is in memory.
//!
//! Nothing here is durable before [`Runs::write`]; the index's position tells how far that is. Invariant: whoever searches misses
//! nothing that was added before, also while a run is being written, and may see it twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock};

use fastbloom::AtomicBloomFilter;
use sled::{Db, IVec};

use super::Result;
use super::shelf::Shelf;
use crate::domain::time::Day;

/// What is found by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Reference,
    Idempotency,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Reference, Self::Idempotency];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Reference => "ref.",
            Self::Idempotency => "idem.",
        }
    }
}

/// Rows of a run from which on a new one is begun.
const RUN_ROWS: usize = 1 << 15;

/// Rows in memory from which on they are to be written.
const RECENT_ROWS_MAX: usize = 1 << 14;

/// Bits that tell of a day's idempotency keys which were certainly never used: a mebibyte, good for a million of them.
const FILTER_BITS: usize = 1 << 23;
const FILTER_HASHES: u32 = 4;

#[derive(Debug)]
struct Run {
    number: u32,
    shelf: Shelf,
    rows: usize,
}

type OfDay = (Kind, Day);
type Sorted = BTreeMap<Vec<u8>, Vec<u8>>;

/// All of it.
#[derive(Debug)]
pub(super) struct Runs {
    recent: RwLock<BTreeMap<OfDay, Sorted>>,
    written: RwLock<BTreeMap<OfDay, Vec<Run>>>,
    used: RwLock<BTreeMap<Day, AtomicBloomFilter>>,
    /// One writer at a time.
    writing: Mutex<()>,
}

fn name_of((kind, day): OfDay, number: u32) -> String {
    format!("{}{day}.{number:06}", kind.prefix())
}

/// What a tree with such a name holds.
fn of_name(name: &[u8]) -> Option<(OfDay, u32)> {
    let name = std::str::from_utf8(name).ok()?;
    Kind::ALL.into_iter().find_map(|kind| {
        let (day, number) = name.strip_prefix(kind.prefix())?.split_once('.')?;
        Some(((kind, Day::parse(day)?), number.parse().ok()?))
    })
}

fn filter() -> AtomicBloomFilter {
    AtomicBloomFilter::with_num_bits(FILTER_BITS).hashes(FILTER_HASHES)
}

impl Runs {
    /// Those that were written. Reads the keys of every idempotency run.
    pub(super) fn open(db: &Db) -> Result<Self> {
        let mut written: BTreeMap<OfDay, Vec<Run>> = BTreeMap::new();
        let mut used: BTreeMap<Day, AtomicBloomFilter> = BTreeMap::new();
        let mut names: Vec<_> = db.tree_names().iter().filter_map(|name| of_name(name)).collect();
        names.sort_unstable();
        for (of_day, number) in names {
            let shelf = Shelf::new(db.open_tree(name_of(of_day, number))?);
            let mut rows = RUN_ROWS;
            if of_day.0 == Kind::Idempotency {
                let used = used.entry(of_day.1).or_insert_with(filter);
                rows = 0;
                for row in shelf.iter()? {
                    used.insert(&row?.0[..]);
                    rows += 1;
                }
            }
            written.entry(of_day).or_default().push(Run { number, shelf, rows });
        }
        for runs in written.values_mut() {
            // Only the last is ever added to.
            if let Some(last) = runs.last_mut().filter(|run| run.rows == RUN_ROWS) {
                last.rows = last.shelf.iter()?.take(RUN_ROWS).count();
            }
        }
        let (written, used) = (RwLock::new(written), RwLock::new(used));
        Ok(Self { recent: RwLock::default(), written, used, writing: Mutex::default() })
    }

    /// Adds rows, in memory. Tells how many are there now.
    pub(super) fn add(&self, rows: Vec<(Kind, Day, Vec<u8>, Vec<u8>)>) -> usize {
        for (_, day, key, _) in rows.iter().filter(|(kind, ..)| *kind == Kind::Idempotency) {
            self.note_used(*day, key);
        }
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for (kind, day, key, row) in rows {
            recent.entry((kind, day)).or_default().insert(key, row);
        }
        recent.values().map(BTreeMap::len).sum()
    }

    /// From now on an idempotency key of the day may be there.
    pub(super) fn note_used(&self, day: Day, key: &[u8]) {
        if let Some(used) = self.used.read().unwrap_or_else(PoisonError::into_inner).get(&day) {
            used.insert(key);
            return;
        }
        self.used.write().unwrap_or_else(PoisonError::into_inner).entry(day).or_insert_with(filter).insert(key);
    }

    /// Whether so many rows in memory should be written.
    pub(super) const fn is_much(rows: usize) -> bool {
        rows >= RECENT_ROWS_MAX
    }

    /// Writes what is in memory out and forgets it there.
    pub(super) fn write(&self, db: &Db) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (of_day, rows) in &recent {
            let last = {
                let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
                written.get(of_day).and_then(|runs| runs.last()).map(|run| (run.number, run.shelf.clone(), run.rows))
            };
            let (number, shelf, before) = match last {
                Some((number, shelf, before)) if before + rows.len() <= RUN_ROWS => (number, shelf, before),
                last => {
                    let number = last.map_or(0, |(number, ..)| number + 1);
                    (number, Shelf::new(db.open_tree(name_of(*of_day, number))?), 0)
                }
            };
            shelf.apply(rows.iter().map(|(key, row)| (key.clone(), Some(row.clone()))).collect())?;
            let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
            let runs = written.entry(*of_day).or_default();
            match runs.last_mut().filter(|run| run.number == number) {
                Some(run) => run.rows = before + rows.len(),
                None => runs.push(Run { number, shelf, rows: rows.len() }),
            }
        }
        let mut now = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for (of_day, rows) in &recent {
            if let Some(known) = now.get_mut(of_day) {
                known.retain(|key, _| !rows.contains_key(key));
            }
        }
        now.retain(|_, rows| !rows.is_empty());
        Ok(())
    }

    /// Drops everything of the days that `gone` says are.
    pub(super) fn drop_days(&self, db: &Db, kind: Kind, gone: impl Fn(Day) -> bool) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = |(of, day): &OfDay| *of == kind && gone(*day);
        self.recent.write().unwrap_or_else(PoisonError::into_inner).retain(|of_day, _| !is_gone(of_day));
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        let dropped: Vec<_> = written.extract_if(.., |of_day, _| is_gone(of_day)).collect();
        drop(written);
        if kind == Kind::Idempotency {
            self.used.write().unwrap_or_else(PoisonError::into_inner).retain(|day, _| !gone(*day));
        }
        for (of_day, runs) in dropped {
            for run in runs {
                db.drop_tree(name_of(of_day, run.number))?;
            }
        }
        Ok(())
    }

    /// Whether an idempotency key of the day may be there; `false` is certain.
    pub(super) fn may_be_used(&self, day: Day, key: &[u8]) -> bool {
        let used = self.used.read().unwrap_or_else(PoisonError::into_inner);
        used.get(&day).is_some_and(|used| used.contains(key))
    }

    /// The row of a key.
    pub(super) fn get(&self, kind: Kind, day: Day, key: &[u8]) -> Result<Option<IVec>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = recent.get(&(kind, day)).and_then(|rows| rows.get(key)) {
            return Ok(Some(IVec::from(&row[..])));
        }
        drop(recent);
        for shelf in self.shelves(kind, day) {
            if let Some(row) = shelf.get(key)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The keys that begin with `prefix`, in no order; `None` when there are more than `most`.
    pub(super) fn keys(&self, kind: Kind, day: Day, prefix: &[u8], most: usize) -> Result<Option<Vec<IVec>>> {
        let mut keys: Vec<IVec> = Vec::new();
        {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            let rows = recent.get(&(kind, day)).into_iter().flat_map(|rows| rows.range(prefix.to_vec()..));
            let begins = rows.map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
            keys.extend(begins.take(most + 1).map(|key| IVec::from(&key[..])));
        }
        for shelf in self.shelves(kind, day) {
            for row in shelf.prefixed(prefix)? {
                if keys.len() > most {
                    return Ok(None);
                }
                keys.push(row?.0);
            }
        }
        Ok((keys.len() <= most).then_some(keys))
    }

    fn shelves(&self, kind: Kind, day: Day) -> Vec<Shelf> {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        written.get(&(kind, day)).into_iter().flatten().map(|run| run.shelf.clone()).collect()
    }
}
