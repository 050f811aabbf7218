//! What events are found by: their references, and the keys they were posted with.
//!
//! These come in random order, so a tree of many of them would have a page read and written for each. Instead the newest are kept
//! in memory, sorted, and written out by the thousands, each time as a new run, a table (or, when they are few, in sled, behind what
//! the last run has): whoever searches looks through a day's runs, of which there are few, and through what is in memory. Of a day
//! that is over, the runs become one, and of a busy one sixteen.
//!
//! Nothing here is durable before [`Runs::write`]; the index's position tells how far that is. Invariant: whoever searches misses
//! nothing that was added before, also while a run is being written, and may see it twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fastbloom::AtomicBloomFilter;
use sled::{Db, IVec};

use super::merge::{Merge, RowWriter};
use super::sealed::{Folder, Sealed};
use super::shelf::Shelf;
use super::{IndexError, Result};
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

/// So many rows, and they are written as a table at once, and not to sled first.
const TABLE_ROWS_MIN: usize = 1 << 12;

/// Packs of a table that more than one run was made into.
const MERGED_PACKS_MIN: u64 = 3_000;

/// So many runs of a day, and they become one: who searches looks through all of them.
const RUNS_MAX: usize = 16;

/// Rows in memory from which on they are to be written.
const RECENT_ROWS_MAX: usize = 1 << 14;

/// Rows that are merged each time that some were written, so that nobody waits for a whole day's.
const MERGED_ROWS: usize = 1 << 15;

/// Writes to wait after one that failed.
const REST: u32 = 256;

/// How often some packs of what was merged are removed then.
const REMOVED_AT_ONCE: usize = 8;

/// Bits that tell of a day's idempotency keys which were certainly never used: a mebibyte, good for a million of them.
const FILTER_BITS: usize = 1 << 23;
const FILTER_HASHES: u32 = 4;

#[derive(Debug)]
struct Run {
    number: u32,
    /// Shared with those who search it at the moment.
    shelf: Arc<Shelf>,
    rows: usize,
}

impl Run {
    /// Whether it was made of others.
    fn is_merged(&self) -> bool {
        let packs = |sealed: &Arc<Sealed>| sealed.tables().all().iter().map(|table| table.packs).sum::<u64>();
        self.rows > RUN_ROWS || self.shelf.sealed().is_some_and(|sealed| packs(sealed) >= MERGED_PACKS_MIN)
    }
}

/// Runs of a day on their way to become one.
#[derive(Debug)]
struct Merging {
    of_day: OfDay,
    /// Those that it is made of.
    from: Vec<u32>,
    number: u32,
    merge: Merge,
}

/// What goes on between one writing and the next.
#[derive(Debug, Default)]
struct Work {
    merging: Option<Merging>,
    /// Merged or expired, and perhaps still searched by somebody.
    retired: Vec<(OfDay, Run)>,
    /// Writes to wait after a merge that could not be written.
    rest: u32,
}

impl Work {
    /// The highest number of the day's runs that are being made or removed.
    fn number_of(&self, of_day: OfDay) -> Option<u32> {
        let merging = self.merging.iter().filter(|merging| merging.of_day == of_day).map(|merging| merging.number);
        let retired = self.retired.iter().filter(|(of, _)| *of == of_day).map(|(_, run)| run.number);
        merging.chain(retired).max()
    }

    /// Removes some of what nobody searches any more; tells whether there is more of it.
    fn remove_some(&mut self, db: &Db) -> Result<bool> {
        let Some(at) = self.retired.iter().position(|(_, run)| Arc::strong_count(&run.shelf) == 1) else {
            return Ok(false);
        };
        if let Some((of_day, run)) = self.retired.get(at)
            && run.shelf.remove_some()?
        {
            db.drop_tree(name_of(*of_day, run.number))?;
            self.retired.swap_remove(at);
        }
        Ok(true)
    }
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
    writing: Mutex<Work>,
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

fn shelf_of(db: &Db, folder: &Folder, of_day: OfDay, number: u32) -> Result<Shelf> {
    let name = name_of(of_day, number);
    Ok(Shelf::with_tables(db.open_tree(&name)?, folder.of(&name)))
}

fn filter() -> AtomicBloomFilter {
    AtomicBloomFilter::with_num_bits(FILTER_BITS).hashes(FILTER_HASHES)
}

impl Runs {
    /// Those that were written. Reads the keys of every idempotency run.
    pub(super) fn open(db: &Db, folder: &Folder) -> Result<Self> {
        let mut written: BTreeMap<OfDay, Vec<Run>> = BTreeMap::new();
        let mut used: BTreeMap<Day, AtomicBloomFilter> = BTreeMap::new();
        let mut names: Vec<_> = db.tree_names().iter().filter_map(|name| of_name(name)).collect();
        names.sort_unstable();
        for (of_day, number) in names {
            let shelf = shelf_of(db, folder, of_day, number)?;
            let mut rows = RUN_ROWS;
            if of_day.0 == Kind::Idempotency {
                let used = used.entry(of_day.1).or_insert_with(filter);
                rows = 0;
                for row in shelf.iter()? {
                    used.insert(&row?.0[..]);
                    rows += 1;
                }
            }
            written.entry(of_day).or_default().push(Run { number, shelf: Arc::new(shelf), rows });
        }
        for kind in Kind::ALL {
            // Only the last is ever added to, and there is no need to fill up that of a day that is over.
            let newest = written.iter_mut().rfind(|((of, _), _)| *of == kind);
            let last =
                newest.and_then(|(_, runs)| runs.last_mut()).filter(|run| run.rows == RUN_ROWS && !run.is_merged());
            if let Some(last) = last {
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
    pub(super) fn write(&self, db: &Db, folder: &Folder) -> Result<()> {
        let mut work = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (of_day, rows) in &recent {
            let last = {
                let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
                written
                    .get(of_day)
                    .and_then(|runs| runs.last())
                    .map(|run| (run.number, Arc::clone(&run.shelf), run.rows))
            };
            // A merge of this day has taken the next number, and does not know what is added now.
            let taken = work.number_of(*of_day);
            let (number, shelf, before) = match last {
                Some((number, shelf, before))
                    if rows.len() < TABLE_ROWS_MIN
                        && before + rows.len() <= RUN_ROWS
                        && taken.is_none_or(|taken| taken < number) =>
                {
                    (number, shelf, before)
                }
                last => {
                    let number = last.map(|(number, ..)| number).max(taken).map_or(0, |number| number + 1);
                    (number, Arc::new(shelf_of(db, folder, *of_day, number)?), 0)
                }
            };
            match shelf.sealed().filter(|_| rows.len() >= TABLE_ROWS_MIN) {
                Some(sealed) => {
                    let mut writer = RowWriter::new(sealed.begin()?);
                    rows.iter().try_for_each(|(key, row)| writer.put(key, row))?;
                    sealed.add(writer.finish()?, None)?;
                }
                None => {
                    shelf.apply(rows.iter().map(|(key, row)| (key.clone(), Some(row.clone()))).collect())?;
                }
            }
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
        drop(now);
        self.merge_some(db, folder, &mut work, &recent)?;
        // As much as was written, about.
        for _ in 0..REMOVED_AT_ONCE {
            work.remove_some(db)?;
        }
        Ok(())
    }

    /// Goes on merging, or begins to. `busy` are those that something was written of just now: where the clock was set back, also
    /// of days that are over.
    fn merge_some(&self, db: &Db, folder: &Folder, work: &mut Work, busy: &BTreeMap<OfDay, Sorted>) -> Result<()> {
        if work.rest > 0 {
            work.rest -= 1;
            return Ok(());
        }
        let going_on = match work.merging.take() {
            None => self.next_merge(db, folder, work, busy),
            merging => Ok(merging),
        };
        match going_on.and_then(|merging| merging.map_or(Ok(None), |merging| self.go_on(work, merging))) {
            Ok(merging) => work.merging = merging,
            Err(error @ (IndexError::Io(_) | IndexError::Full)) => {
                tracing::warn!(%error, "a part of the index can not be merged; it is tried again later");
                work.rest = REST;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// All runs of a day that is over, when there are several, or those of a day that became too many.
    fn next_merge(
        &self,
        db: &Db,
        folder: &Folder,
        work: &Work,
        busy: &BTreeMap<OfDay, Sorted>,
    ) -> Result<Option<Merging>> {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        let all = written.keys().chain(busy.keys());
        let newest = all.filter(|(kind, _)| *kind == Kind::Reference).max().copied();
        let is_over =
            |of: &OfDay| of.0 == Kind::Reference && newest.is_some_and(|newest| *of < newest) && !busy.contains_key(of);
        let to_merge = written.iter().find_map(|(of_day, runs)| {
            if runs.len() > 1 && is_over(of_day) {
                return Some((*of_day, runs.iter().collect::<Vec<_>>()));
            }
            let small: Vec<_> = runs.iter().filter(|run| !run.is_merged()).collect();
            (small.len() >= RUNS_MAX).then_some((*of_day, small))
        });
        let Some((of_day, runs)) = to_merge else { return Ok(None) };
        let highest =
            written.get(&of_day).into_iter().flatten().map(|run| run.number).chain(work.number_of(of_day)).max();
        let number = highest.map_or(0, |highest| highest + 1);
        let from = runs.iter().map(|run| Shelf::clone(&run.shelf)).collect();
        let into = shelf_of(db, folder, of_day, number)?;
        let Some(table) = into.sealed().map(|sealed| sealed.begin()).transpose()? else { return Ok(None) };
        let (from_numbers, merge) = (runs.iter().map(|run| run.number).collect(), Merge::new(from, into, table));
        Ok(Some(Merging { of_day, from: from_numbers, number, merge }))
    }

    /// A bit of it; `None` when it is done.
    fn go_on(&self, work: &mut Work, mut merging: Merging) -> Result<Option<Merging>> {
        if !merging.merge.step(MERGED_ROWS)? {
            return Ok(Some(merging));
        }
        let Merging { of_day, from, number, merge } = merging;
        let (shelf, rows) = merge.finish()?;
        let run = Run { number, shelf: Arc::new(shelf), rows: rows.max(RUN_ROWS) };
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        let runs = written.entry(of_day).or_default();
        let merged = runs.extract_if(.., |other| from.contains(&other.number));
        work.retired.extend(merged.map(|other| (of_day, other)));
        runs.insert(0, run);
        Ok(None)
    }

    /// The run of such a tree's name.
    pub(super) fn shelf_named(&self, name: &str) -> Option<Arc<Shelf>> {
        let (of_day, number) = of_name(name.as_bytes())?;
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        let run = written.get(&of_day)?.iter().find(|run| run.number == number)?;
        Some(Arc::clone(&run.shelf))
    }

    /// Drops everything of the days that `gone` says are.
    pub(super) fn drop_days(&self, db: &Db, kind: Kind, gone: impl Fn(Day) -> bool) -> Result<()> {
        {
            let mut work = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let is_gone = |(of, day): &OfDay| *of == kind && gone(*day);
            self.recent.write().unwrap_or_else(PoisonError::into_inner).retain(|of_day, _| !is_gone(of_day));
            let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
            let dropped: Vec<_> = written.extract_if(.., |of_day, _| is_gone(of_day)).collect();
            drop(written);
            if kind == Kind::Idempotency {
                self.used.write().unwrap_or_else(PoisonError::into_inner).retain(|day, _| !gone(*day));
            }
            let broken_off = work.merging.take_if(|merging| is_gone(&merging.of_day));
            work.retired.extend(broken_off.map(|Merging { of_day, number, merge, .. }| {
                (of_day, Run { number, shelf: Arc::new(merge.shelf()), rows: 0 })
            }));
            let runs = dropped.into_iter().flat_map(|(of_day, runs)| runs.into_iter().map(move |run| (of_day, run)));
            work.retired.extend(runs);
        }
        while self.writing.lock().unwrap_or_else(PoisonError::into_inner).remove_some(db)? {
            super::pause_a_moment();
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

    fn shelves(&self, kind: Kind, day: Day) -> Vec<Arc<Shelf>> {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        written.get(&(kind, day)).into_iter().flatten().map(|run| Arc::clone(&run.shelf)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: [Day; 3] = [Day::from_number(20_000), Day::from_number(20_001), Day::from_number(20_002)];

    fn database(folder: &std::path::Path) -> Db {
        sled::Config::new().path(folder).cache_capacity(1 << 20).open().unwrap()
    }

    fn tables_of(folder: &tempfile::TempDir) -> Folder {
        Folder::open(folder.path().join("tables"), false).unwrap()
    }

    fn key(number: u64) -> Vec<u8> {
        // In no order.
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
    }

    fn write(runs: &Runs, (db, tables): (&Db, &Folder), kind: Kind, day: Day, numbers: std::ops::Range<u64>) {
        runs.add(numbers.map(|number| (kind, day, key(number), number.to_be_bytes().to_vec())).collect());
        runs.write(db, tables).unwrap();
    }

    fn keys(runs: &Runs, day: Day) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = runs.keys(Kind::Reference, day, &[], usize::MAX - 1).unwrap().unwrap();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|key| key.to_vec()).collect()
    }

    fn sorted(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = numbers.map(key).collect();
        keys.sort_unstable();
        keys
    }

    fn trees(db: &Db, day: Day) -> usize {
        let of = |name: &&IVec| of_name(name).is_some_and(|((kind, of), _)| kind == Kind::Reference && of == day);
        db.tree_names().iter().filter(of).count()
    }

    const ROWS: u64 = RUN_ROWS as u64;

    #[test]
    fn the_runs_of_a_day_that_is_over_become_one() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(folder.path());
        let tables = tables_of(&folder);
        let runs = Runs::open(&db, &tables).unwrap();
        for from in [0, ROWS, 2 * ROWS] {
            write(&runs, (&db, &tables), Kind::Reference, DAYS[0], from..from + ROWS);
        }
        write(&runs, (&db, &tables), Kind::Idempotency, DAYS[0], 0..10);
        assert_eq!(trees(&db, DAYS[0]), 3, "its day is not over");
        let searched = runs.shelves(Kind::Reference, DAYS[0]);
        for number in 0..3 {
            write(&runs, (&db, &tables), Kind::Reference, DAYS[1], number..number + 1);
            assert!(keys(&runs, DAYS[0]) == sorted(0..3 * ROWS), "a key is missing in step {number}");
        }
        assert_eq!(runs.shelves(Kind::Reference, DAYS[0]).len(), 1);
        assert_eq!(trees(&db, DAYS[0]), 4, "somebody searches the others");
        assert!(searched.iter().all(|shelf| shelf.iter().unwrap().next().unwrap().is_ok()));
        drop(searched);
        write(&runs, (&db, &tables), Kind::Reference, DAYS[1], 3..4);
        assert_eq!(trees(&db, DAYS[0]), 1);
        assert_eq!(runs.get(Kind::Reference, DAYS[0], &key(5)).unwrap().unwrap(), 5_u64.to_be_bytes());
        assert!(runs.get(Kind::Idempotency, DAYS[0], &key(5)).unwrap().is_some());

        // What comes late is found as well, and merged with the rest.
        write(&runs, (&db, &tables), Kind::Reference, DAYS[0], 3 * ROWS..3 * ROWS + 1);
        assert_eq!(runs.shelves(Kind::Reference, DAYS[0]).len(), 2);
        drop(runs);
        let tables = tables_of(&folder);
        let runs = Runs::open(&db, &tables).unwrap();
        for number in 4..9 {
            write(&runs, (&db, &tables), Kind::Reference, DAYS[1], number..number + 1);
        }
        assert_eq!((trees(&db, DAYS[0]), trees(&db, DAYS[1])), (1, 1));
        assert!(keys(&runs, DAYS[0]) == sorted(0..3 * ROWS + 1));
        runs.drop_days(&db, Kind::Reference, |day| day == DAYS[0]).unwrap();
        assert_eq!((trees(&db, DAYS[0]), keys(&runs, DAYS[0]).len()), (0, 0));
    }

    #[test]
    fn nobody_looks_through_more_than_some_runs_of_a_busy_day() {
        let folder = tempfile::tempdir().unwrap();
        let (db, tables) = (database(folder.path()), tables_of(&folder));
        let runs = Runs::open(&db, &tables).unwrap();
        let (rows, mut count) = (TABLE_ROWS_MIN as u64, 0);
        for kind in Kind::ALL {
            for number in 0..3 * RUNS_MAX as u64 {
                write(&runs, (&db, &tables), kind, DAYS[0], number * rows..(number + 1) * rows);
                count = count.max(runs.shelves(kind, DAYS[0]).len());
            }
            // Those that were merged before, and those that are not yet.
            assert!(count <= RUNS_MAX + 3, "{count} runs");
            assert!(runs.get(kind, DAYS[0], &key(7)).unwrap().is_some());
        }
        assert!(keys(&runs, DAYS[0]) == sorted(0..3 * RUNS_MAX as u64 * rows));
        assert_eq!(db.open_tree(name_of((Kind::Reference, DAYS[0]), 0)).unwrap().len(), 0, "none went through sled");
        drop(runs);
        let runs = Runs::open(&db, &tables_of(&folder)).unwrap();
        assert!(keys(&runs, DAYS[0]) == sorted(0..3 * RUNS_MAX as u64 * rows));
        assert!(runs.may_be_used(DAYS[0], &key(7)) && !runs.may_be_used(DAYS[1], &key(7)));
    }

    #[test]
    fn a_merge_that_is_broken_off_or_overtaken_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(folder.path());
        let tables = tables_of(&folder);
        let mut tables = tables;
        let mut runs = Runs::open(&db, &tables).unwrap();
        let mut count = 0;
        for round in 0..4 {
            for _ in 0..2 {
                write(&runs, (&db, &tables), Kind::Reference, DAYS[0], count..count + ROWS);
                count += ROWS;
            }
            // One step of several.
            write(&runs, (&db, &tables), Kind::Reference, DAYS[1], round..round + 1);
            assert!(runs.writing.lock().unwrap().merging.is_some(), "round {round}");
            if round % 2 == 0 {
                // More of the day while it is merged: the clock was set back.
                write(&runs, (&db, &tables), Kind::Reference, DAYS[0], count..count + 7);
                count += 7;
            } else {
                drop(runs);
                tables = tables_of(&folder);
                runs = Runs::open(&db, &tables).unwrap();
            }
            assert!(keys(&runs, DAYS[0]) == sorted(0..count), "round {round}");
        }
        for number in 0..40 {
            write(&runs, (&db, &tables), Kind::Reference, DAYS[2], number..number + 1);
        }
        assert_eq!(trees(&db, DAYS[0]), 1);
        assert!(keys(&runs, DAYS[0]) == sorted(0..count));

        write(&runs, (&db, &tables), Kind::Reference, DAYS[1], 0..2 * ROWS);
        write(&runs, (&db, &tables), Kind::Reference, DAYS[2], 41..42);
        assert!(runs.writing.lock().unwrap().merging.is_some());
        runs.drop_days(&db, Kind::Reference, |day| day < DAYS[2]).unwrap();
        assert_eq!((trees(&db, DAYS[0]), trees(&db, DAYS[1]), trees(&db, DAYS[2])), (0, 0, 1));
        write(&runs, (&db, &tables), Kind::Reference, DAYS[2], 42..43);
        assert_eq!(keys(&runs, DAYS[2]).len(), 42);
    }
}
