//! Tables: packs in a file that is written once, in order, and never changed.
//!
//! ```text
//! pack pack … block  pack pack … block  root  footer
//! ```
//!
//! A block is itself a pack, of where each of the packs before it lies; the root, of where each block does. Only what the root says
//! is kept in memory: some bytes for a hundred packs. The footer is at the very end, under a checksum of its own, so a file that was
//! not written to its end is none. Nothing is synced: a table is part of the index, and shares its fate in a power cut.
//!
//! It is not known here which packs still count, or what is in them; a pack is checked by whoever reads its rows.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use sled::IVec;

use super::pack::{Pack, Packing};
use super::rows::{seal_keyed, unseal_keyed};
use super::walk::Order;
use super::{IndexError, Result};

/// Bytes of a block from which on the next one begins.
const BLOCK_BYTES: usize = 4096;

/// What is wrong with a longer one can only be its length.
const READ_MAX: u32 = 64 << 20;

/// Bytes that a file which goes gets shorter by at a time: the file system gives them back together with what others sync.
const SHRUNK_AT_ONCE: u64 = 8 << 20;

/// Where the root is, how many packs there are, a checksum.
const FOOTER_BYTES: usize = 24;

fn damaged() -> IndexError {
    IndexError::Damaged("a table does not check out".to_owned())
}

/// Where something lies in a file: its first byte and its length.
type Extent = (u64, u32);

fn extent_row((at, length): Extent) -> [u8; 12] {
    let mut row = [0; 12];
    let (front, back) = row.split_at_mut(8);
    front.copy_from_slice(&at.to_le_bytes());
    back.copy_from_slice(&length.to_le_bytes());
    row
}

fn extent_from(row: &[u8]) -> Result<Extent> {
    let (at, length) = row.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok((u64::from_le_bytes(*at), u32::from_le_bytes(length.try_into().map_err(|_| damaged())?)))
}

/// The name of a table's file.
pub(super) fn file_name(shelf: &str, number: u32) -> String {
    format!("{shelf}.{number:06}")
}

/// The shelf and the number that a file's name tells.
pub(super) fn of_file_name(name: &str) -> Option<(&str, u32)> {
    let (shelf, number) = name.rsplit_once('.')?;
    Some((shelf, number.parse().ok().filter(|_| number.len() >= 6)?))
}

/// An open table.
#[derive(Debug)]
pub(super) struct Table {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Which one of its shelf it is.
    pub(super) number: u32,
    /// How many packs it has.
    pub(super) packs: u64,
    /// The first key of each block, and where that lies; there is at least one.
    blocks: Vec<(IVec, Extent)>,
    /// The key of its last pack.
    pub(super) last: IVec,
    /// Packs of the shelf that are newer than what is here, as far as is known.
    pub(super) overlaid: AtomicUsize,
}

impl Table {
    /// Opens one.
    ///
    /// # Errors
    /// `Damaged` when it is not what was written, `Io`.
    pub(super) fn open(folder: &Path, shelf: &str, number: u32) -> Result<Self> {
        let name = file_name(shelf, number);
        let path = folder.join(&name);
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        let mut table = Self {
            file,
            path,
            bytes,
            number,
            packs: 0,
            blocks: Vec::new(),
            last: IVec::default(),
            overlaid: AtomicUsize::new(0),
        };
        let end = bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(damaged)?;
        let footer = table.read((end, FOOTER_BYTES as u32))?;
        let footer = unseal_keyed(&footer_key(&name), &footer).ok_or_else(damaged)?;
        let (root, rest) = footer.split_at_checked(12).ok_or_else(damaged)?;
        table.packs = u64::from_le_bytes(rest.try_into().map_err(|_| damaged())?);
        let root = Pack::read(name.as_bytes(), &table.read(extent_from(root)?)?)?;
        for at in 0..root.len() {
            table.blocks.push((IVec::from(root.key(at)), extent_from(root.row(at))?));
        }
        let (first, extent) = table.blocks.last().ok_or_else(damaged)?;
        let block = Pack::read(first, &table.read(*extent)?)?;
        table.last = IVec::from(block.key(block.len().checked_sub(1).ok_or_else(damaged)?));
        Ok(table)
    }

    /// The key of its first pack.
    pub(super) fn first(&self) -> &[u8] {
        self.blocks.first().map_or(&[], |(first, _)| first)
    }

    /// Its file's name.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn read(&self, (at, length): Extent) -> Result<IVec> {
        if length > READ_MAX || at.checked_add(u64::from(length)).is_none_or(|end| end > self.bytes) {
            return Err(damaged());
        }
        let mut bytes = vec![0; length as usize];
        match self.file.read_exact_at(&mut bytes, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(damaged()),
            read => Ok(read.map(|()| IVec::from(bytes))?),
        }
    }

    /// Removes a bit of the file, which nobody reads any more, and in the end the file; tells whether that was it.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn remove_some(&self) -> Result<bool> {
        let file = match OpenOptions::new().write(true).open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            file => file?,
        };
        let left = file.metadata()?.len().saturating_sub(SHRUNK_AT_ONCE);
        // From its end: what is left has no footer, and is no table any more.
        file.set_len(left)?;
        if left == 0 {
            std::fs::remove_file(&self.path)?;
        }
        Ok(left == 0)
    }
}

fn footer_key(name: &str) -> Vec<u8> {
    [b"postrider table 1 ", name.as_bytes()].concat()
}

/// A pack in a table, not read yet.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The pack's key.
    pub(super) key: IVec,
    /// Where it is.
    pub(super) table: Arc<Table>,
    extent: Extent,
}

impl Entry {
    /// The pack, sealed.
    ///
    /// # Errors
    /// When it can not be read.
    pub(super) fn read(&self) -> Result<IVec> {
        self.table.read(self.extent)
    }
}

/// The tables of a shelf, whose keys follow each other.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: Vec<Arc<Table>>,
    /// How many blocks there are in the tables up to each, and in that one.
    blocks_up_to: Vec<usize>,
    /// The block that was read last: who walks comes back to it.
    latest: Mutex<Option<(usize, Arc<Pack>)>>,
}

impl Tables {
    /// In any order.
    pub(super) fn new(mut tables: Vec<Arc<Table>>) -> Self {
        tables.sort_by(|a, b| a.first().cmp(b.first()));
        let blocks_up_to = tables.iter().scan(0, |sum, table| {
            *sum += table.blocks.len();
            Some(*sum)
        });
        Self { blocks_up_to: blocks_up_to.collect(), tables, latest: Mutex::default() }
    }

    /// All of them, in the order of their keys.
    pub(super) fn all(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// The number of the table among them that a key would be in: the last that begins at or below it.
    pub(super) fn table_of(&self, key: &[u8]) -> Option<usize> {
        self.tables.partition_point(|table| table.first() <= key).checked_sub(1)
    }

    fn blocks(&self) -> usize {
        self.blocks_up_to.last().copied().unwrap_or_default()
    }

    /// The last block that begins below the key, or also at it.
    fn block_below(&self, key: &[u8], or_at: bool) -> Option<usize> {
        let begins = |first: &[u8]| first < key || or_at && first == key;
        let at = self.tables.partition_point(|table| begins(table.first())).checked_sub(1)?;
        let before = at.checked_sub(1).and_then(|at| self.blocks_up_to.get(at)).copied().unwrap_or_default();
        let within = self.tables.get(at)?.blocks.partition_point(|(first, _)| begins(first)).checked_sub(1)?;
        Some(before + within)
    }

    fn place(&self, block: usize) -> Option<(&Arc<Table>, &(IVec, Extent))> {
        let at = self.blocks_up_to.partition_point(|up_to| *up_to <= block);
        let before = at.checked_sub(1).and_then(|at| self.blocks_up_to.get(at)).copied().unwrap_or_default();
        let table = self.tables.get(at)?;
        Some((table, table.blocks.get(block - before)?))
    }

    fn block(&self, number: usize) -> Result<Arc<Pack>> {
        let latest = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = latest().as_ref().filter(|(known, _)| *known == number) {
            return Ok(Arc::clone(block));
        }
        let (table, (first, extent)) = self.place(number).ok_or_else(damaged)?;
        let block = Arc::new(Pack::read(first, &table.read(*extent)?)?);
        *latest() = Some((number, Arc::clone(&block)));
        Ok(block)
    }

    fn entry(&self, number: usize, block: &Pack, at: usize) -> Result<Entry> {
        let (key, row) = block.owned(at).ok_or_else(damaged)?;
        let (table, _) = self.place(number).ok_or_else(damaged)?;
        Ok(Entry { key, table: Arc::clone(table), extent: extent_from(&row)? })
    }

    /// The last pack whose key is at or below this one.
    ///
    /// # Errors
    /// When it can not be read.
    pub(super) fn at_or_below(&self, key: &[u8]) -> Result<Option<Entry>> {
        let Some(number) = self.block_below(key, true) else { return Ok(None) };
        let block = self.block(number)?;
        let at = block.below(key, true).checked_sub(1).ok_or_else(damaged)?;
        self.entry(number, &block, at).map(Some)
    }

    /// The key of the first pack above this one.
    ///
    /// # Errors
    /// When it can not be read.
    pub(super) fn key_above(&self, key: &[u8]) -> Result<Option<IVec>> {
        // As it is for what is accepted just now.
        if self.tables.last().is_none_or(|table| *table.last <= *key) {
            return Ok(None);
        }
        let next = match self.block_below(key, true) {
            Some(number) => {
                let block = self.block(number)?;
                let at = block.below(key, true);
                if at < block.len() {
                    return Ok(Some(IVec::from(block.key(at))));
                }
                number + 1
            }
            None => 0,
        };
        Ok(self.place(next).map(|(_, (first, _))| first.clone()))
    }

    /// The pack of exactly this key.
    ///
    /// # Errors
    /// When it can not be read.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.at_or_below(key)?.filter(|entry| entry.key == key).map(|entry| entry.read()).transpose()
    }
}

/// Packs of tables, in order.
#[derive(Debug)]
pub(super) struct Entries {
    tables: Arc<Tables>,
    order: Order,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    /// Blocks that are still to come.
    blocks: std::ops::Range<usize>,
    block: Option<(usize, Arc<Pack>)>,
    /// Packs of the block that are still to come.
    left: std::ops::Range<usize>,
}

impl Entries {
    /// Those with keys from `start` on, and below `end` if there is one.
    pub(super) fn new(tables: Arc<Tables>, start: &[u8], end: Option<&[u8]>, order: Order) -> Self {
        let from = tables.block_below(start, true).unwrap_or_default();
        let to = match end {
            Some(end) => tables.block_below(end, false).map_or(0, |last| last + 1),
            None => tables.blocks(),
        };
        let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
        Self { tables, order, start, end, blocks: from..to.max(from), block: None, left: 0..0 }
    }

    fn step(&mut self) -> Result<Option<Entry>> {
        let next = |range: &mut std::ops::Range<usize>, order| match order {
            Order::OldestFirst => range.next(),
            Order::NewestFirst => range.next_back(),
        };
        loop {
            if let Some((number, block)) = &self.block
                && let Some(at) = next(&mut self.left, self.order)
            {
                return self.tables.entry(*number, block, at).map(Some);
            }
            let Some(number) = next(&mut self.blocks, self.order) else { return Ok(None) };
            let block = self.tables.block(number)?;
            let from = block.below(&self.start, false);
            self.left = from..self.end.as_ref().map_or(block.len(), |end| block.below(end, false)).max(from);
            self.block = Some((number, block));
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// A table on its way. Until it is finished it lies under another name, and is removed if it never is.
#[derive(Debug)]
pub(super) struct TableWriter {
    out: Option<BufWriter<File>>,
    folder: PathBuf,
    shelf: String,
    number: u32,
    at: u64,
    packs: u64,
    /// The first key of the block that is being filled.
    under: Option<Vec<u8>>,
    block: Packing,
    root: Packing,
}

/// What an unfinished file's name ends with.
pub(super) const UNFINISHED: &str = ".unfinished";

impl TableWriter {
    /// Begins one in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn new(folder: &Path, shelf: &str, number: u32) -> Result<Self> {
        if !folder.exists() {
            std::fs::create_dir(folder)?;
        }
        let mut writer = Self {
            out: None,
            folder: folder.to_owned(),
            shelf: shelf.to_owned(),
            number,
            at: 0,
            packs: 0,
            under: None,
            block: Packing::default(),
            root: Packing::default(),
        };
        writer.out = Some(BufWriter::with_capacity(1 << 16, File::create(writer.unfinished())?));
        Ok(writer)
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join(file_name(&self.shelf, self.number) + UNFINISHED)
    }

    /// Which one of its shelf it becomes.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// How many packs were written.
    pub(super) const fn packs(&self) -> u64 {
        self.packs
    }

    /// Writes a pack, whose key is above those before it.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn push(&mut self, key: &[u8], sealed: &[u8]) -> Result<()> {
        let extent = self.write(sealed)?;
        self.block.put(key, &extent_row(extent));
        self.under.get_or_insert_with(|| key.to_vec());
        self.packs += 1;
        if self.block.bytes() >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Extent> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= READ_MAX).ok_or_else(damaged)?;
        let out = self.out.as_mut().ok_or_else(damaged)?;
        out.write_all(bytes)?;
        let at = self.at;
        self.at += u64::from(length);
        Ok((at, length))
    }

    fn end_block(&mut self) -> Result<()> {
        let Some(under) = self.under.take() else { return Ok(()) };
        let sealed = self.block.seal(&under);
        let extent = self.write(&sealed)?;
        self.root.put(&under, &extent_row(extent));
        Ok(())
    }

    /// Ends it and opens it. There must be a pack in it.
    ///
    /// # Errors
    /// When it can not be written.
    pub(super) fn finish(mut self) -> Result<Table> {
        self.end_block()?;
        let name = file_name(&self.shelf, self.number);
        let root = self.root.seal(name.as_bytes());
        let mut footer = extent_row(self.write(&root)?).to_vec();
        footer.extend_from_slice(&self.packs.to_le_bytes());
        self.write(&seal_keyed(&footer_key(&name), footer))?;
        let mut out = self.out.take().ok_or_else(damaged)?;
        out.flush()?;
        drop(out);
        std::fs::rename(self.unfinished(), self.folder.join(&name))?;
        Table::open(&self.folder, &self.shelf, self.number)
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        // After `finish` there is none under this name. One that stays is removed at the next start.
        let _ = std::fs::remove_file(self.unfinished());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn write(folder: &Path, number: u32, packs: &Model) -> Table {
        let mut writer = TableWriter::new(folder, "log.x", number).unwrap();
        for (key, pack) in packs {
            writer.push(key, pack).unwrap();
        }
        assert_eq!(writer.packs(), packs.len() as u64);
        writer.finish().unwrap()
    }

    fn all(tables: &Arc<Tables>, start: &[u8], end: Option<&[u8]>, order: Order) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = Entries::new(Arc::clone(tables), start, end, order);
        entries.map(Result::unwrap).map(|entry| (entry.key.to_vec(), entry.read().unwrap().to_vec())).collect()
    }

    fn numbered(numbers: impl Iterator<Item = u32>) -> Model {
        let pack = |number: u32| [number.to_le_bytes(), [7; 4]].concat().repeat(number as usize % 9);
        numbers.map(|number| ((number * 3).to_be_bytes().to_vec(), pack(number))).collect()
    }

    proptest! {
        #[test]
        fn tables_one_behind_the_other_are_a_sorted_map(
            lengths in proptest::collection::vec(1_u32..900, 1..4),
            asked in proptest::collection::vec((0_u32..9_000, 0_u32..9_000), 12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut from, mut tables, mut model) = (100, Vec::new(), Model::new());
            for (number, length) in (0..).zip(lengths) {
                let packs = numbered(from..from + length);
                tables.push(Arc::new(write(folder.path(), number, &packs)));
                model.extend(packs);
                from += length + 20;
            }
            tables.reverse();
            let tables = Arc::new(Tables::new(tables));
            for (a, b) in asked {
                let (start, end) = (a.to_be_bytes(), b.to_be_bytes());
                for end in [None, Some(&end[..])] {
                    let inside = |key: &[u8]| key >= &start[..] && end.is_none_or(|end| key < end);
                    let mut wanted: Vec<_> = model.clone().into_iter().filter(|(key, _)| inside(key)).collect();
                    prop_assert_eq!(&all(&tables, &start, end, Order::OldestFirst), &wanted);
                    wanted.reverse();
                    prop_assert_eq!(&all(&tables, &start, end, Order::NewestFirst), &wanted);
                }
                let below = tables.at_or_below(&start).unwrap().map(|entry| (entry.key.to_vec(), entry.read().unwrap().to_vec()));
                let wanted = model.range(..=start.to_vec()).next_back();
                prop_assert_eq!(below, wanted.map(|(key, pack)| (key.clone(), pack.clone())));
                let above = tables.key_above(&start).unwrap().map(|key| key.to_vec());
                let mut behind = model.range(start.to_vec()..).map(|(key, _)| key.clone()).filter(|key| key[..] > start[..]);
                prop_assert_eq!(above, behind.next());
                prop_assert_eq!(tables.get(&start).unwrap().map(|pack| pack.to_vec()), model.get(&start[..]).cloned());
                let before = tables.all().iter().filter(|table| table.first() <= &start[..]).count();
                prop_assert_eq!(tables.table_of(&start), before.checked_sub(1));
            }
        }
    }

    #[test]
    fn no_byte_of_it_can_change_unseen() {
        let folder = tempfile::tempdir().unwrap();
        // Each a sealed pack of one row, as they are in life.
        let sealed = |key: &[u8]| {
            let mut packing = Packing::default();
            packing.put(key, b"row");
            packing.seal(key)
        };
        let packs: Model =
            (0..300_u32).map(|n| n.to_be_bytes().to_vec()).map(|key| (key.clone(), sealed(&key))).collect();
        drop(write(folder.path(), 0, &packs));
        let path = folder.path().join(file_name("log.x", 0));
        let whole = std::fs::read(&path).unwrap();
        let is_whole = || -> Result<bool> {
            let tables = Arc::new(Tables::new(vec![Arc::new(Table::open(folder.path(), "log.x", 0)?)]));
            let mut count = 0;
            for entry in Entries::new(tables, &[], None, Order::OldestFirst) {
                let entry = entry?;
                count += Pack::read(&entry.key, &entry.read()?)?.len();
            }
            Ok(count == packs.len())
        };
        assert!(is_whole().unwrap());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(is_whole(), Err(IndexError::Damaged(_))), "byte {at} of {}", whole.len());
        }
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(is_whole(), Err(IndexError::Damaged(_))), "{length} bytes");
        }
        std::fs::write(folder.path().join(file_name("log.x", 1)), &whole).unwrap();
        assert!(Table::open(folder.path(), "log.x", 1).is_err(), "under another number");
    }

    #[test]
    fn one_that_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("tables");
        let mut writer = TableWriter::new(&inside, "log.x", 3).unwrap();
        writer.push(b"a", b"pack").unwrap();
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 1);
        drop(writer);
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
        let table = write(&inside, 4, &numbered(1..5_000));
        OpenOptions::new().write(true).open(&table.path).unwrap().set_len(2 * SHRUNK_AT_ONCE + 1).unwrap();
        assert_eq!(
            [table.remove_some().unwrap(), table.remove_some().unwrap(), table.remove_some().unwrap()],
            [false, false, true]
        );
        assert!(!table.path.exists() && table.remove_some().unwrap());
        assert_eq!(of_file_name("ref.2026-11-23.000004.000012"), Some(("ref.2026-11-23.000004", 12)));
        assert_eq!([of_file_name("log.2026-11-23"), of_file_name("x"), of_file_name("a.1")], [None; 3]);
    }
}
