//! Moving what is hardly written to any more out of sled, into tables: of a day's log what was accepted a while ago and is not
//! mostly still to be sent, and when the day is over the rest; and a table once more, when a good part of it has changed since.
//!
//! A bit of it is done at each write, by whoever writes. A table is copied from what counts, which stays in sled; when sled is known
//! to have written all that was copied, the table counts as well; when nobody reads by what there was before, sled lets go of what
//! both have. Broken off anywhere, it leaves a file that is no table, or packs in sled that say the same as a table. What is not
//! decided here is which pack counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use sled::Db;

use super::sealed::{Appended, Removed};
use super::shelf::Shelf;
use super::table::{Table, TableWriter, Tables};
use super::walk::Order;
use super::{IndexError, Result};

/// Packs of a table: about 64 megabytes.
const TABLE_PACKS: usize = 1 << 15;

/// The newest packs, which stay in sled: most of what changes is there.
const FRESH_PACKS: usize = 1 << 12;

/// Fewer packs of a day that is over are not worth a file.
const SEALED_PACKS_MIN: usize = 1 << 10;

/// A table is made anew when one in so many of its packs is in sled again.
const OVERLAID_PART: usize = 4;

/// For each pack that is written, so many are copied or removed.
const MOVED_FOR_EACH: usize = 4;

/// And so many at least, and at most.
const MOVED_AT_ONCE: (usize, usize) = (64, 2048);

/// Writes to wait after a file could not be written.
const REST: u32 = 1 << 12;

/// Writes to wait where much is still to be sent, since each attempt changes what it is of.
const LOOK_AGAIN: u32 = 1 << 8;

/// How much of it is done at a time, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    table_packs: usize,
    fresh_packs: usize,
    packs_min: usize,
    moved_at_once: (usize, usize),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            table_packs: TABLE_PACKS,
            fresh_packs: FRESH_PACKS,
            packs_min: SEALED_PACKS_MIN,
            moved_at_once: MOVED_AT_ONCE,
        }
    }
}

/// What is being moved, and what is next.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    limits: Limits,
    job: Option<Job>,
    /// Shelves of days that were over when they were looked at, and were looked at since.
    looked_at: BTreeSet<String>,
    /// Tables found at the start, from which sled may not have let go.
    unsettled: Vec<(Shelf, Arc<Table>)>,
    rest: u32,
}

/// One table on its way.
#[derive(Debug)]
struct Job {
    shelf: Shelf,
    /// Keys from `start` on, below `end` if there is one.
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    /// The table that it is made of, and takes the place of.
    replaced: Option<Arc<Table>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Copying from a key on.
    Copying(TableWriter, Vec<u8>),
    /// All is copied; sled writes what it has.
    Flushing(TableWriter, Receiver<sled::Result<usize>>),
    /// The table counts; what there was before may be in use.
    Letting(Arc<Tables>, Arc<Table>),
    /// Sled lets go, from a key on.
    Removing(Arc<Table>, Vec<u8>),
    /// Files that count no more go.
    Clearing,
}

/// The lowest key above this one.
fn just_above(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Whether so much of these packs is still to be sent that a table of them would soon have to be made anew.
fn is_mostly_waited_for(pending: &Shelf, start: &[u8], end: Option<&[u8]>, packs: usize) -> Result<bool> {
    let mut waiting = pending.range(start, end, Order::OldestFirst)?;
    Ok(waiting.nth(packs / OVERLAID_PART).transpose()?.is_some())
}

impl Job {
    /// A table of what comes behind the last one, or the other one anew.
    fn new(shelf: &Shelf, of: Option<&Arc<Table>>) -> Result<Option<Self>> {
        let Some(sealed) = shelf.sealed() else { return Ok(None) };
        let tables = sealed.tables();
        let (start, end) = match of {
            None => (tables.all().last().map_or_else(Vec::new, |last| just_above(&last.last)), None),
            Some(table) => {
                let at = tables.table_of(table.first()).unwrap_or_default();
                let end =
                    tables.all().get(at + 1).map_or_else(|| just_above(&table.last), |next| next.first().to_vec());
                // What came before all others, too, where the clock was set back.
                (if at == 0 { Vec::new() } else { table.first().to_vec() }, Some(end))
            }
        };
        let stage = Stage::Copying(sealed.begin()?, start.clone());
        Ok(Some(Self { shelf: shelf.clone(), start, end, replaced: of.cloned(), stage }))
    }

    /// Goes on by so many packs; `None` when it is done.
    fn step(mut self, db: &Db, limits: Limits, most: usize) -> Result<Option<Self>> {
        let Some(sealed) = self.shelf.sealed().cloned() else { return Ok(None) };
        self.stage = match self.stage {
            Stage::Copying(mut writer, from) => {
                let next = self.shelf.copy_some(&from, self.end.as_deref(), most, &mut writer)?;
                // One that is made anew has what it has.
                let is_full = self.replaced.is_none() && writer.packs() >= limits.table_packs as u64;
                match next {
                    Some(next) if !is_full => Stage::Copying(writer, next),
                    _ if writer.packs() == 0 => {
                        // No row of it counts any more; what says so stays, and goes with the day.
                        match &self.replaced {
                            None => *sealed.appended() = Appended::default(),
                            Some(table) => table.overlaid.store(0, Ordering::Relaxed),
                        }
                        return Ok(None);
                    }
                    next => {
                        if self.replaced.is_none() {
                            let packs = usize::try_from(writer.packs()).unwrap_or(usize::MAX);
                            sealed.appended().copied(packs, next.as_deref());
                        }
                        self.end = next.or(self.end);
                        let (done, flushed) = channel();
                        let db = db.clone();
                        std::thread::Builder::new().name("index-flush".to_owned()).spawn(move || {
                            let _ = done.send(db.flush());
                        })?;
                        Stage::Flushing(writer, flushed)
                    }
                }
            }
            Stage::Flushing(writer, flushed) => match flushed.try_recv() {
                Err(TryRecvError::Empty) => Stage::Flushing(writer, flushed),
                Err(TryRecvError::Disconnected) => return Err(IndexError::Io("sled was not flushed".to_owned())),
                Ok(flushed) => {
                    flushed?;
                    let number = writer.number();
                    let replaced = self.replaced.as_ref().map(|table| table.number);
                    let before = sealed.add(writer.finish()?, replaced)?;
                    let tables = sealed.tables();
                    let table = tables.all().iter().find(|table| table.number == number);
                    let Some(table) = table else { return Ok(None) };
                    tracing::debug!(
                        table = table.name(),
                        packs = table.packs,
                        "a part of the index is in a file of its own"
                    );
                    Stage::Letting(before, Arc::clone(table))
                }
            },
            Stage::Letting(before, table) if sealed.is_read(&before) => Stage::Letting(before, table),
            Stage::Letting(_, table) => Stage::Removing(table, self.start.clone()),
            Stage::Removing(table, from) => match self.shelf.remove_sealed(&from, self.end.as_deref(), most, &table)? {
                Some(next) => Stage::Removing(table, next),
                None => Stage::Clearing,
            },
            Stage::Clearing => match sealed.remove_some()? {
                Removed::All => return Ok(None),
                Removed::Some | Removed::NoneYet => Stage::Clearing,
            },
        };
        Ok(Some(self))
    }
}

impl Tidying {
    /// For shelves as they were found.
    pub(super) fn new<'a>(shelves: impl Iterator<Item = &'a Shelf>) -> Self {
        let tables = shelves.filter_map(|shelf| Some((shelf, shelf.sealed()?.tables())));
        let unsettled = tables.flat_map(|(shelf, tables)| {
            tables.all().iter().map(|table| (shelf.clone(), Arc::clone(table))).collect::<Vec<_>>()
        });
        Self { unsettled: unsettled.collect(), ..Self::default() }
    }

    /// Decides what is done next, if nothing is being done. `logs` are those of the days, in order; `pending` has a row for each
    /// delivery that is still to be sent, under the key that it has in its day's log.
    ///
    /// # Errors
    /// When the index can not be read.
    pub(super) fn choose<'a>(
        &mut self,
        logs: impl Iterator<Item = (&'a str, &'a Shelf)> + Clone,
        pending: &Shelf,
    ) -> Result<()> {
        if self.rest > 0 {
            self.rest -= 1;
        } else if self.job.is_none() {
            let next = self.next(logs, pending);
            self.job = self.unless_it_can_wait(next)?;
        }
        Ok(())
    }

    /// Does a bit of it, as so many packs were written.
    ///
    /// # Errors
    /// When the index is damaged. A file that can not be written is left, and another one begun later.
    pub(super) fn step(&mut self, db: &Db, written: usize) -> Result<()> {
        let Some(job) = self.job.take() else { return Ok(()) };
        let (least, most) = self.limits.moved_at_once;
        let went_on = job.step(db, self.limits, (written * MOVED_FOR_EACH).clamp(least, most));
        self.job = self.unless_it_can_wait(went_on)?;
        Ok(())
    }

    fn unless_it_can_wait(&mut self, went_on: Result<Option<Job>>) -> Result<Option<Job>> {
        match went_on {
            Err(error @ (IndexError::Io(_) | IndexError::Full)) => {
                tracing::warn!(%error, "a part of the index can not be moved to a file of its own; it is tried again later");
                self.rest = REST;
                Ok(None)
            }
            other => other,
        }
    }

    /// What is done next, if there is anything.
    fn next<'a>(
        &mut self,
        logs: impl Iterator<Item = (&'a str, &'a Shelf)> + Clone,
        pending: &Shelf,
    ) -> Result<Option<Job>> {
        if let Some((shelf, table)) = self.unsettled.pop() {
            let (start, end) = (table.first().to_vec(), Some(just_above(&table.last)));
            let stage = Stage::Removing(table, start.clone());
            return Ok(Some(Job { shelf, start, end, replaced: None, stage }));
        }
        let newest = logs.clone().last().map(|(name, _)| name);
        for (name, shelf) in logs {
            let Some(sealed) = shelf.sealed() else { continue };
            let tables = sealed.tables();
            let behind_all = || tables.all().last().map_or_else(Vec::new, |last| just_above(&last.last));
            let full = sealed.appended().full(self.limits.table_packs, self.limits.fresh_packs);
            let is_over = newest != Some(name);
            if let Some(until) = full {
                let packs = self.limits.table_packs;
                if is_over || !is_mostly_waited_for(pending, &behind_all(), until.as_deref(), packs)? {
                    return Job::new(shelf, None);
                }
                self.rest = LOOK_AGAIN;
            }
            let is_overlaid = |table: &&Arc<Table>| {
                let overlaid = table.overlaid.load(Ordering::Relaxed) * OVERLAID_PART;
                overlaid >= self.limits.packs_min && overlaid as u64 >= table.packs
            };
            for table in tables.all().iter().filter(is_overlaid) {
                let packs = usize::try_from(table.packs).unwrap_or(usize::MAX);
                if !is_mostly_waited_for(pending, table.first(), Some(&just_above(&table.last)), packs)? {
                    return Job::new(shelf, Some(table));
                }
                self.rest = LOOK_AGAIN;
            }
            if is_over && !self.looked_at.contains(name) {
                if shelf.has_packs(&behind_all(), self.limits.packs_min)? {
                    return Job::new(shelf, None);
                }
                self.looked_at.insert(name.to_owned());
            }
        }
        Ok(None)
    }

    /// Leaves a shelf alone, which goes.
    pub(super) fn forget(&mut self, shelf: &str) {
        let is_it = |of: &Shelf| of.sealed().is_some_and(|sealed| sealed.shelf == shelf);
        self.job.take_if(|job| is_it(&job.shelf));
        self.unsettled.retain(|(of, _)| !is_it(of));
        self.looked_at.remove(shelf);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicU16};

    use proptest::prelude::*;

    use super::super::pack::Row;
    use super::super::sealed::Folder;
    use super::*;

    const SMALL: Limits = Limits { table_packs: 6, fresh_packs: 2, packs_min: 3, moved_at_once: (2, 2) };
    const NAMES: [&str; 2] = ["log.1", "log.2"];

    type Model = [BTreeMap<Vec<u8>, Vec<u8>>; 2];

    /// Two days of a log, as an index has them.
    struct Logs {
        db: Db,
        pending: Shelf,
        shelves: Vec<(String, Shelf)>,
        /// As far as days have begun.
        days: usize,
        tidying: Tidying,
    }

    impl Logs {
        fn open(db: &Db, folder: &Path) -> Self {
            let folder = Folder::open(folder.join("tables"), false).unwrap();
            let shelf = |name| Shelf::with_tables(db.open_tree(name).unwrap(), folder.of(name));
            let shelves: Vec<_> = NAMES.map(|name| (name.to_owned(), shelf(name))).into();
            let tidying = Tidying { limits: SMALL, ..Tidying::new(shelves.iter().map(|(_, shelf)| shelf)) };
            let pending = Shelf::new(db.open_tree("pending").unwrap());
            Self { db: db.clone(), pending, shelves, days: 2, tidying }
        }

        fn choose(&mut self) {
            let logs = self.shelves[..self.days].iter().map(|(name, shelf)| (name.as_str(), shelf));
            self.tidying.choose(logs, &self.pending).unwrap();
        }

        fn step(&mut self) {
            self.choose();
            if let Some(Job { stage: Stage::Flushing(_, flushed), .. }) = &mut self.tidying.job {
                let done = flushed.recv().unwrap();
                let (again, waiting) = channel();
                again.send(done).unwrap();
                *flushed = waiting;
            }
            self.tidying.step(&self.db, 0).unwrap();
        }

        /// Until nothing is left to do.
        fn settle(&mut self) {
            for _ in 0..100_000 {
                self.step();
                if self.tidying.job.is_none() {
                    self.choose();
                    if self.tidying.job.is_none() {
                        return;
                    }
                }
            }
            panic!("it never ends: {:?} {:?}", self.tidying, self.shelves);
        }

        fn shelf(&self, day: usize) -> &Shelf {
            &self.shelves[day].1
        }

        fn tables(&self, day: usize) -> usize {
            self.shelf(day).sealed().unwrap().tables().all().len()
        }

        fn in_sled(&self, day: usize) -> usize {
            self.db.open_tree(NAMES[day]).unwrap().len()
        }

        fn agrees(&self, model: &Model) -> std::result::Result<(), TestCaseError> {
            for (day, wanted) in model.iter().enumerate() {
                let pair = |row: Result<Row>| row.map(|(key, row)| (key.to_vec(), row.to_vec())).unwrap();
                let mut wanted: Vec<_> = wanted.clone().into_iter().collect();
                let found = |order| self.shelf(day).range(&[], None, order).unwrap().map(pair).collect::<Vec<_>>();
                prop_assert_eq!(&found(Order::OldestFirst), &wanted);
                for (key, row) in wanted.iter().step_by(7) {
                    prop_assert_eq!(&self.shelf(day).get(key).unwrap().unwrap()[..], &row[..]);
                }
                wanted.reverse();
                prop_assert_eq!(&found(Order::NewestFirst), &wanted);
            }
            Ok(())
        }
    }

    fn row(number: u16, bytes: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        (number.to_be_bytes().to_vec(), Some(vec![number as u8; bytes]))
    }

    #[derive(Clone, Debug)]
    enum Deed {
        /// Rows behind all others of a day: how many, and their bytes.
        Append(usize, u16, usize),
        /// Rows anywhere that change, or go.
        Change(usize, Vec<(u16, Option<usize>)>),
        Step(u8),
        /// The process is killed, and what is in the page cache stays.
        Kill,
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let change = (0_u16..700, proptest::option::of(1_usize..400));
        let deed = prop_oneof![
            4 => (0_usize..2, 1_u16..60, 20_usize..500).prop_map(|(day, rows, bytes)| Deed::Append(day, rows, bytes)),
            3 => (0_usize..2, proptest::collection::vec(change, 1..30)).prop_map(|(day, rows)| Deed::Change(day, rows)),
            6 => (1_u8..30).prop_map(Deed::Step),
            1 => Just(Deed::Kill),
        ];
        proptest::collection::vec(deed, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_moves_where_and_when_the_rows_stay_what_they_are(deeds in deeds()) {
            let folder = tempfile::tempdir().unwrap();
            let db = sled::Config::new().temporary(true).open().unwrap();
            let mut logs = Logs::open(&db, folder.path());
            let (mut model, mut last) = (Model::default(), [0_u16; 2]);
            for deed in deeds {
                match deed {
                    Deed::Append(day, rows, bytes) => {
                        let from = last[day];
                        last[day] = from + rows;
                        let changes: Vec<_> = (from..from + rows).map(|number| row(number, bytes)).collect();
                        model[day].extend(changes.iter().map(|(key, row)| (key.clone(), row.clone().unwrap())));
                        logs.shelf(day).apply(changes).unwrap();
                    }
                    Deed::Change(day, rows) => {
                        let mut changes = Vec::new();
                        for (number, bytes) in rows {
                            let key = number.to_be_bytes().to_vec();
                            match bytes {
                                Some(bytes) => drop(model[day].insert(key.clone(), vec![3; bytes])),
                                None => drop(model[day].remove(&key)),
                            }
                            changes.push((key, bytes.map(|bytes| vec![3; bytes])));
                        }
                        logs.shelf(day).apply(changes).unwrap();
                    }
                    Deed::Step(steps) => (0..steps).for_each(|_| logs.step()),
                    Deed::Kill => {
                        // Its threads and files go with it; what it would have tidied up does not happen.
                        std::mem::forget(logs.tidying.job.take());
                        logs = Logs::open(&db, folder.path());
                    }
                }
                logs.agrees(&model)?;
            }
            logs.settle();
            logs.agrees(&model)?;
        }
    }

    /// Files of tables.
    fn files(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join("tables")).unwrap().count() - 1
    }

    fn filled(rows: u16) -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let mut logs = Logs::open(&db, folder.path());
        logs.days = 1;
        for from in (0..rows).step_by(10) {
            logs.shelf(0).apply((from..from + 10).map(|number| row(number, 190)).collect()).unwrap();
            logs.step();
        }
        (folder, logs)
    }

    #[test]
    fn what_was_accepted_a_while_ago_leaves_sled_and_the_rest_when_the_day_is_over() {
        let (folder, mut logs) = filled(1_000);
        logs.settle();
        assert!(
            logs.tables(0) >= 8 && logs.in_sled(0) <= SMALL.table_packs + SMALL.fresh_packs + 2,
            "{}",
            logs.in_sled(0)
        );
        logs.days = 2;
        logs.shelf(1).apply((0..10).map(|number| row(number, 9)).collect()).unwrap();
        logs.settle();
        assert!(logs.in_sled(0) <= SMALL.packs_min, "{}", logs.in_sled(0));
        assert_eq!((logs.shelf(0).iter().unwrap().count(), logs.tables(1)), (1_000, 0));
        let files = files(&folder);
        assert_eq!(files, logs.tables(0));
    }

    #[test]
    fn a_table_that_changed_much_is_made_anew() {
        let (folder, mut logs) = filled(1_000);
        logs.days = 2;
        logs.settle();
        let before = logs.in_sled(0);
        // A little stays where it is.
        logs.shelf(0).apply(vec![row(100, 5)]).unwrap();
        logs.settle();
        assert_eq!(logs.in_sled(0), before + 1);
        for number in 0..1_000 {
            logs.shelf(0).apply(vec![row(number, 191)]).unwrap();
            if number % 10 == 0 {
                logs.step();
            }
        }
        logs.settle();
        assert!(logs.in_sled(0) < before + 30, "{} of {before}", logs.in_sled(0));
        let rows = logs.shelf(0).iter().unwrap().map(|row| row.unwrap().1.len()).collect::<Vec<_>>();
        assert_eq!(rows, vec![191; 1_000]);
        assert_eq!(files(&folder), logs.tables(0));
        // All rows of it go, and then it.
        logs.shelf(0).apply((0..1_000).map(|number| (row(number, 1).0, None)).collect()).unwrap();
        logs.settle();
        assert_eq!(logs.shelf(0).iter().unwrap().count(), 0);
        for _ in 0..1_000 {
            if logs.shelf(0).remove_some().unwrap() {
                break;
            }
        }
        assert_eq!((logs.in_sled(0), files(&folder)), (0, 0));
    }

    /// A receiver that was away: what waits for it changes when it is sent, and again in a table it would be there twice.
    #[test]
    fn what_is_mostly_still_to_be_sent_stays_until_it_was_or_the_day_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let mut logs = Logs::open(&db, folder.path());
        logs.days = 1;
        logs.tidying.limits = Limits { table_packs: 512, fresh_packs: 256, packs_min: 64, moved_at_once: (64, 64) };
        // So long that each is a pack.
        let accept = |logs: &mut Logs, numbers: std::ops::Range<u16>| {
            for number in numbers {
                logs.shelf(0).apply(vec![row(number, 2_100)]).unwrap();
                logs.pending.apply(vec![row(number, 9)]).unwrap();
                logs.step();
            }
        };
        let send = |logs: &mut Logs, numbers: &mut dyn Iterator<Item = u16>| {
            for number in numbers {
                logs.shelf(0).apply(vec![row(number, 2_150)]).unwrap();
                logs.pending.apply(vec![(row(number, 0).0, None)]).unwrap();
                logs.step();
            }
        };
        let later = |logs: &mut Logs| {
            (0..LOOK_AGAIN).for_each(|_| logs.step());
            logs.settle();
        };
        let numbers = |logs: &Logs| -> Vec<u32> {
            logs.shelf(0).sealed().unwrap().tables().all().iter().map(|table| table.number).collect()
        };
        accept(&mut logs, 0..1_100);
        later(&mut logs);
        assert_eq!(logs.tables(0), 0);
        // One in five of the first part is left, and all that is newer: that part can go.
        send(&mut logs, &mut (0..600).filter(|number| number % 5 != 0));
        later(&mut logs);
        assert_eq!((numbers(&logs), logs.in_sled(0)), (vec![0], 1_100 - 512));
        // When it changes again, and waits, it is not made anew; when little waits any more, it is.
        for number in 0..300 {
            logs.shelf(0).apply(vec![row(number, 2_160)]).unwrap();
            logs.pending.apply(vec![row(number, 9)]).unwrap();
            logs.step();
        }
        later(&mut logs);
        assert_eq!((numbers(&logs), logs.in_sled(0)), (vec![0], 1_100 - 512 + 300));
        send(&mut logs, &mut (0..512));
        later(&mut logs);
        assert_eq!(numbers(&logs), [2]);
        assert!(logs.in_sled(0) < 1_100 - 512 + 512 / OVERLAID_PART, "{}", logs.in_sled(0));
        // What comes then waits as well, and goes when the day is over.
        accept(&mut logs, 1_100..2_000);
        later(&mut logs);
        assert_eq!(numbers(&logs), [2]);
        logs.days = 2;
        logs.shelf(1).apply(vec![row(0, 9)]).unwrap();
        later(&mut logs);
        assert!(logs.tables(0) == 4 && logs.in_sled(0) < 64, "{} in sled", logs.in_sled(0));
        assert_eq!(logs.shelf(0).iter().unwrap().count(), 2_000);
    }

    #[test]
    fn who_reads_keeps_what_there_was() {
        let (_folder, mut logs) = filled(60);
        let mut reading = logs.shelf(0).iter().unwrap();
        let first = reading.next().unwrap().unwrap();
        for from in (60..1_000).step_by(10) {
            logs.shelf(0).apply((from..from + 10).map(|number| row(number, 190)).collect()).unwrap();
            logs.step();
        }
        for _ in 0..50 {
            logs.step();
        }
        assert!(matches!(logs.tidying.job, Some(Job { stage: Stage::Letting(..), .. })), "{:?}", logs.tidying.job);
        let rest: Vec<_> = reading.by_ref().take(59).map(|row| row.unwrap().0).collect();
        assert_eq!((&first.0[..], rest.len()), (&[0, 0][..], 59));
        drop(reading);
        logs.settle();
        assert!(logs.tables(0) >= 8);
        // And a table that goes stays as long as somebody reads it.
        let mut reading = logs.shelf(0).iter().unwrap();
        reading.next().unwrap().unwrap();
        assert!(!logs.shelf(0).remove_some().unwrap() && !logs.shelf(0).remove_some().unwrap());
        assert_eq!(reading.filter(Result::is_ok).count(), 999);
        while !logs.shelf(0).remove_some().unwrap() {}
        assert_eq!(logs.shelf(0).iter().unwrap().count(), 0);
    }

    /// Who walks while things move sees every row that was there when it began, once.
    #[test]
    fn nobody_who_walks_meanwhile_misses_a_row_or_sees_it_twice() {
        let (_folder, mut logs) = filled(10);
        let (rows, is_over) = (AtomicU16::new(10), AtomicBool::new(false));
        let shelf = logs.shelf(0).clone();
        std::thread::scope(|scope| {
            let walks = [Order::OldestFirst, Order::NewestFirst].map(|order| {
                let (rows, is_over, shelf) = (&rows, &is_over, &shelf);
                scope.spawn(move || {
                    let mut walks = 0;
                    while !is_over.load(Ordering::Acquire) {
                        let there = rows.load(Ordering::Acquire);
                        let walk = shelf.range(&[], Some(&there.to_be_bytes()), order).unwrap();
                        let seen: Vec<u16> =
                            walk.map(|row| u16::from_be_bytes((*row.unwrap().0).try_into().unwrap())).collect();
                        let mut wanted: Vec<u16> = (0..there).collect();
                        if order == Order::NewestFirst {
                            wanted.reverse();
                        }
                        assert_eq!(seen, wanted);
                        walks += 1;
                    }
                    walks
                })
            });
            for from in (10..6_000).step_by(10) {
                let mut changes: Vec<_> = (from..from + 10).map(|number| row(number, 190)).collect();
                // Some of what is sealed changes, is longer for a while, and is sealed anew.
                changes
                    .extend((0..from).step_by(97).map(|number| row(number, if from % 100 == 0 { 500 } else { 190 })));
                logs.shelf(0).apply(changes).unwrap();
                rows.store(from + 10, Ordering::Release);
                logs.step();
            }
            is_over.store(true, Ordering::Release);
            for walk in walks {
                assert!(walk.join().unwrap() > 0);
            }
        });
        drop(shelf);
        logs.settle();
        assert!(logs.tables(0) > 50, "{}", logs.tables(0));
    }

    #[test]
    fn a_table_that_is_missing_is_missed_and_one_that_is_too_much_is_removed() {
        let (folder, mut logs) = filled(300);
        logs.settle();
        let tables = folder.path().join("tables");
        let open = |is_begun| Folder::open(tables.clone(), is_begun).map(|folder| folder.names());
        let names: Vec<_> = logs.shelf(0).sealed().unwrap().tables().all().iter().map(|table| table.name()).collect();
        assert!(names.len() >= 2);
        // Not listed yet when the process was killed, or not any more.
        std::fs::copy(tables.join(&names[0]), tables.join("log.1.000099")).unwrap();
        std::fs::write(tables.join("log.1.000100.unfinished"), b"").unwrap();
        assert_eq!(open(true).unwrap(), ["log.1"]);
        assert_eq!(files(&folder), names.len());
        std::fs::rename(tables.join(&names[1]), folder.path().join("elsewhere")).unwrap();
        assert!(matches!(open(true), Err(IndexError::Damaged(_))));
        std::fs::rename(folder.path().join("elsewhere"), tables.join(&names[1])).unwrap();
        let list = std::fs::read(tables.join("manifest")).unwrap();
        for at in 0..list.len() {
            let mut bytes = list.clone();
            bytes[at] ^= 1;
            std::fs::write(tables.join("manifest"), bytes).unwrap();
            assert!(matches!(open(true), Err(IndexError::Damaged(_))), "byte {at}");
        }
        std::fs::remove_file(tables.join("manifest")).unwrap();
        assert!(matches!(open(true), Err(IndexError::Damaged(_))));
    }

    #[test]
    fn a_file_that_can_not_be_written_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let mut logs = Logs::open(&db, folder.path());
        // Where the folder should be made there is something else.
        std::fs::write(folder.path().join("tables"), b"").unwrap();
        for from in (0..1_000).step_by(10) {
            logs.shelf(0).apply((from..from + 10).map(|number| row(number, 190)).collect()).unwrap();
            logs.step();
        }
        assert!(logs.tidying.rest > 0 && logs.tables(0) == 0);
        assert_eq!(logs.shelf(0).iter().unwrap().count(), 1_000);
        std::fs::remove_file(folder.path().join("tables")).unwrap();
        logs.tidying.rest = 0;
        logs.settle();
        assert!(logs.tables(0) > 0);
        assert_eq!(logs.shelf(0).iter().unwrap().count(), 1_000);
    }
}
