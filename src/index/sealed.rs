//! The part of a shelf that lies in tables: which of them count, and how one takes the place of others.
//!
//! Whoever reads holds on to the tables that there were when it began. Invariants: nothing that a table has is taken out of sled,
//! and no file is changed, while somebody reads by what there was before it; a table counts as long as the manifest lists it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::rows::{seal_keyed, unseal_keyed};
use super::table::{Table, TableWriter, Tables, UNFINISHED, of_file_name};
use super::{IndexError, Result};

/// The folder of all tables.
#[derive(Debug)]
pub(super) struct Folder {
    manifest: Arc<Manifest>,
    /// What lay there, until its shelf is opened.
    found: Mutex<BTreeMap<String, Vec<Arc<Table>>>>,
}

/// Which tables there are, in a file beside them: one that is missing must not be taken for one that never was.
#[derive(Debug)]
struct Manifest {
    folder: PathBuf,
    listed: Mutex<BTreeSet<String>>,
}

/// The file's name, and what its checksum covers before its text.
const MANIFEST: &str = "manifest";
const MANIFEST_KEY: &[u8] = b"postrider tables 1";

impl Manifest {
    fn open(folder: PathBuf) -> Result<Self> {
        let damaged = || IndexError::Damaged("the list of tables does not check out".to_owned());
        let listed = match std::fs::read(folder.join(MANIFEST)) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            read => {
                let sealed = read?;
                let text = unseal_keyed(MANIFEST_KEY, &sealed).ok_or_else(damaged)?;
                std::str::from_utf8(text).map_err(|_| damaged())?.lines().map(str::to_owned).collect()
            }
        };
        Ok(Self { folder, listed: Mutex::new(listed) })
    }

    /// Lists some tables, and others no more, at once.
    fn change(&self, add: &[String], remove: &[String]) -> Result<()> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = listed.iter().filter(|name| !remove.contains(name)).chain(add).cloned();
        let changed: BTreeSet<String> = kept.collect();
        let text = changed.iter().flat_map(|name| [name, "\n"]).collect::<String>();
        let unfinished = self.folder.join([MANIFEST, UNFINISHED].concat());
        std::fs::write(&unfinished, seal_keyed(MANIFEST_KEY, text.into_bytes()))?;
        std::fs::rename(unfinished, self.folder.join(MANIFEST))?;
        *listed = changed;
        Ok(())
    }
}

impl Folder {
    /// Opens every table that is listed, and removes what is not. `is_begun` when there were tables before.
    ///
    /// # Errors
    /// `Damaged` when one of them is not what was written, or is not there, `Io`.
    pub(super) fn open(path: PathBuf, is_begun: bool) -> Result<Self> {
        let manifest = Manifest::open(path)?;
        let listed = manifest.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if is_begun && !manifest.folder.join(MANIFEST).exists() {
            return Err(IndexError::Damaged("the list of tables is missing".to_owned()));
        }
        let entries = match std::fs::read_dir(&manifest.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            if entry.file_name().to_str().is_none_or(|name| name != MANIFEST && !listed.contains(name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        let mut found: BTreeMap<String, Vec<Arc<Table>>> = BTreeMap::new();
        for name in &listed {
            let Some((shelf, number)) = of_file_name(name) else { continue };
            let table = match Table::open(&manifest.folder, shelf, number) {
                Err(IndexError::Io(_)) if !manifest.folder.join(name).exists() => {
                    return Err(IndexError::Damaged("a table is missing".to_owned()));
                }
                table => table?,
            };
            found.entry(shelf.to_owned()).or_default().push(Arc::new(table));
        }
        Ok(Self { manifest: Arc::new(manifest), found: Mutex::new(found) })
    }

    /// Whether a table was ever listed.
    pub(super) fn is_begun(&self) -> bool {
        self.manifest.folder.join(MANIFEST).exists()
    }

    /// The shelves that tables were found of and that were not opened yet.
    pub(super) fn names(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The tables of a shelf.
    pub(super) fn of(&self, shelf: &str) -> Arc<Sealed> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(shelf).unwrap_or_default();
        let next = found.iter().map(|table| table.number + 1).max().unwrap_or_default();
        Arc::new(Sealed {
            manifest: Arc::clone(&self.manifest),
            shelf: shelf.to_owned(),
            now: RwLock::new(Arc::new(Tables::new(found))),
            going: Mutex::default(),
            next: AtomicU32::new(next),
            begun: AtomicBool::new(false),
            appended: Mutex::default(),
        })
    }

    /// Bytes of all files in it.
    pub(super) fn bytes(&self) -> u64 {
        let entries = std::fs::read_dir(&self.manifest.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    }
}

/// The tables of a shelf.
#[derive(Debug)]
pub(super) struct Sealed {
    manifest: Arc<Manifest>,
    pub(super) shelf: String,
    now: RwLock<Arc<Tables>>,
    /// Tables that count no more, with what there was when they did.
    going: Mutex<Vec<(Arc<Tables>, Arc<Table>)>>,
    /// The number of the next table.
    next: AtomicU32,
    /// Whether a table was ever begun.
    begun: AtomicBool,
    appended: Mutex<Appended>,
}

/// Packs behind the last table that came since one was written, or since the start.
#[derive(Debug, Default)]
pub(super) struct Appended {
    packs: usize,
    /// A key in each [`MARKED`]th of them.
    marks: VecDeque<Vec<u8>>,
}

const MARKED: usize = 1 << 8;

impl Appended {
    /// So many came, the last of them with this key in it.
    pub(super) fn came(&mut self, packs: usize, key: &[u8]) {
        let before = self.packs / MARKED;
        self.packs += packs;
        for _ in before..self.packs / MARKED {
            self.marks.push_back(key.to_vec());
        }
    }

    /// So many are in a table now, and none, or those from this key on, are left.
    pub(super) fn copied(&mut self, packs: usize, left_from: Option<&[u8]>) {
        self.packs = left_from.map_or(0, |_| self.packs.saturating_sub(packs));
        self.marks.retain(|mark| left_from.is_some_and(|from| from <= &mark[..]));
    }

    /// If these are enough for a table, with so many fresh ones left: where such a table would end, as far as that is known.
    pub(super) fn full(&self, table: usize, fresh: usize) -> Option<Option<Vec<u8>>> {
        (self.packs >= table + fresh).then(|| self.marks.get((table / MARKED).saturating_sub(1)).cloned())
    }
}

impl Sealed {
    /// What came behind the last table.
    pub(super) fn appended(&self) -> MutexGuard<'_, Appended> {
        self.appended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables that count now.
    pub(super) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a pack that is gone must leave something behind, because a table may have it or be getting it.
    pub(super) fn may_have_packs(&self) -> bool {
        self.begun.load(Ordering::Relaxed) || !self.tables().all().is_empty()
    }

    /// Begins a table.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn begin(&self) -> Result<TableWriter> {
        self.begun.store(true, Ordering::Relaxed);
        TableWriter::new(&self.manifest.folder, &self.shelf, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// From now on this table counts, and one that it takes the place of does not. Gives what there was before.
    ///
    /// # Errors
    /// When it can not be listed; all is then as it was.
    pub(super) fn add(&self, table: Table, replaced: Option<u32>) -> Result<Arc<Tables>> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let is_replaced = |other: &Arc<Table>| replaced == Some(other.number);
        let (gone, mut tables): (Vec<_>, Vec<_>) = now.all().iter().cloned().partition(is_replaced);
        let gone_names: Vec<String> = gone.iter().map(|table| table.name()).collect();
        if let Err(error) = self.manifest.change(&[table.name()], &gone_names) {
            while !table.remove_some()? {}
            return Err(error);
        }
        tables.push(Arc::new(table));
        let before = std::mem::replace(&mut *now, Arc::new(Tables::new(tables)));
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        going.extend(gone.into_iter().map(|table| (Arc::clone(&before), table)));
        Ok(before)
    }

    /// From now on no table counts.
    pub(super) fn retire_all(&self) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.all().is_empty() {
            return;
        }
        let before = std::mem::take(&mut *now);
        let names: Vec<String> = before.all().iter().map(|table| table.name()).collect();
        if let Err(error) = self.manifest.change(&[], &names) {
            // They go all the same, since nothing else gives room on a full disk. At the worst the next start misses them.
            tracing::warn!(%error, "the list of the index's tables can not be written");
        }
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        going.extend(before.all().iter().map(|table| (Arc::clone(&before), Arc::clone(table))));
    }

    /// Whether somebody besides the caller still reads by what there was before.
    pub(super) fn is_read(&self, before: &Arc<Tables>) -> bool {
        let going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(before) > 1 + going.iter().filter(|(of, _)| Arc::ptr_eq(of, before)).count()
    }

    /// Removes a bit of a file that counts no more; tells whether there is none, or none that nobody reads.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn remove_some(&self) -> Result<Removed> {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        if going.is_empty() {
            return Ok(Removed::All);
        }
        let ours = |tables: &Arc<Tables>| going.iter().filter(|(before, _)| Arc::ptr_eq(before, tables)).count();
        let free = going.iter().position(|(before, _)| Arc::strong_count(before) == ours(before));
        let Some(free) = free else { return Ok(Removed::NoneYet) };
        if let Some((_, table)) = going.get(free)
            && table.remove_some()?
        {
            going.swap_remove(free);
        }
        Ok(Removed::Some)
    }
}

/// How far removing files has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// There are none to remove.
    All,
    /// There may be more.
    Some,
    /// Somebody still reads all of them.
    NoneYet,
}
