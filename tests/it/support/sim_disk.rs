//! A disk in memory that forgets and tears what was not synced, fails where it is told to, and
//! fills up. The same seed gives the same crash.
//!
//! What a file or folder shows and what it would show after a power cut are kept apart: writes
//! wait until `sync`, names until `sync_dir` of their folder (a file's own `sync` does not make
//! its name durable; POSIX does not promise it). After a sync that failed, what waited stays to
//! be seen but never becomes durable, as on Linux, where a second sync would claim success.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider::journal::{Disk, DiskEntry, SegmentFile};
use postrider::random::Random;

const SECTOR: usize = 512;

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    CreateDir,
    SyncDir,
    List,
    Create,
    Open,
    Remove,
    Write,
    Read,
    Truncate,
    Sync,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    Once,
    Persistent,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    at: u64,
    kind: ErrorKind,
    lasting: Lasting,
    /// The power is gone: a sync that fails for that does not condemn what waited.
    power_cut: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Folder(Folder),
    File(Contents),
}

#[derive(Clone, Debug, Default)]
struct Folder {
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// What a name stood for, each time it changed since the last sync.
    pending: BTreeMap<String, Vec<Option<usize>>>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Debug)]
struct State {
    nodes: Vec<Node>,
    calls: u64,
    counts: std::collections::HashMap<Call, u64>,
    fault: Option<Fault>,
    failed: Vec<Call>,
    capacity: Option<usize>,
    chance: Random,
}

/// The disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// An empty disk with one durable folder.
    pub(crate) fn with_folder(name: &str) -> Self {
        let mut root = Folder::default();
        root.names.insert(name.to_owned(), 1);
        root.durable.insert(name.to_owned(), 1);
        Self(Arc::new(Mutex::new(State {
            nodes: vec![Node::Folder(root), Node::Folder(Folder::default())],
            calls: 0,
            counts: std::collections::HashMap::new(),
            fault: None,
            failed: Vec::new(),
            capacity: None,
            chance: Random::seeded(0),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as it is after a power cut at this moment, without faults. This one stays as it is.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        let chance = Random::seeded(seed);
        for node in &mut state.nodes {
            match node {
                Node::Folder(folder) => folder.crash(&chance),
                Node::File(contents) => contents.crash(&chance),
            }
        }
        let disk = Self(Arc::new(Mutex::new(State { chance, ..state })));
        disk.heal();
        disk
    }

    /// Makes the `n`-th fallible call from now (counted from 1) fail, with part of it done.
    pub(crate) fn fail_at(&self, n: u64, kind: ErrorKind, lasting: Lasting) {
        let mut state = self.state();
        let at = state.calls + n;
        state.fault = Some(Fault { at, kind, lasting, power_cut: false });
    }

    /// Cuts the power at the `n`-th call from now; see it by `crash`.
    pub(crate) fn power_off_at(&self, n: u64) {
        let mut state = self.state();
        let at = state.calls + n;
        state.fault = Some(Fault { at, kind: ErrorKind::NotConnected, lasting: Lasting::Persistent, power_cut: true });
    }

    /// The most bytes that all files may hold.
    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Seeds how much of a failing write is done.
    pub(crate) fn seed(&self, seed: u64) {
        self.state().chance = Random::seeded(seed);
    }

    /// Takes away faults and bounds, and forgets what failed.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
        state.capacity = None;
        state.failed.clear();
    }

    /// The calls that were made to fail.
    pub(crate) fn failed(&self) -> Vec<Call> {
        self.state().failed.clone()
    }

    /// How often something was asked, failures included.
    pub(crate) fn count(&self, call: Call) -> u64 {
        self.state().counts.get(&call).copied().unwrap_or(0)
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used(&self) -> usize {
        self.state().used()
    }

    /// A file's bytes as they are seen.
    pub(crate) fn contents(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        let node = state.find(path).unwrap();
        let Node::File(contents) = &state.nodes[node] else { panic!("{} is a folder", path.display()) };
        contents.bytes.clone()
    }

    /// Replaces a file's bytes, durably: rot, or a fixture.
    pub(crate) fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let node = state.find(path).unwrap();
        state.nodes[node] =
            Node::File(Contents { bytes: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() });
    }

    /// A second disk with the same contents.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Paths of all files below a folder.
    pub(crate) fn files(&self, folder: &Path) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in self.list(folder).unwrap() {
            let path = folder.join(&entry.name);
            if entry.is_dir { found.extend(self.files(&path)) } else { found.push(path) }
        }
        found.sort();
        found
    }
}

impl Folder {
    fn set(&mut self, name: &str, node: Option<usize>) {
        match node {
            Some(node) => self.names.insert(name.to_owned(), node),
            None => self.names.remove(name),
        };
        self.pending.entry(name.to_owned()).or_default().push(node);
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.names);
    }

    fn crash(&mut self, chance: &Random) {
        for (name, history) in std::mem::take(&mut self.pending) {
            let choice = below(chance, history.len() + 1);
            // Beyond the history: none of it reached the disk.
            match history.get(choice) {
                Some(Some(node)) => self.durable.insert(name, *node),
                Some(None) => self.durable.remove(&name),
                None => None,
            };
        }
        self.names.clone_from(&self.durable);
    }
}

impl Contents {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.bytes);
    }

    fn crash(&mut self, chance: &Random) {
        for change in std::mem::take(&mut self.pending) {
            match below(chance, 3) {
                0 => {}
                1 => change.apply(&mut self.durable),
                _ => change.tear(&mut self.durable, chance),
            }
        }
        self.bytes.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(to, *offset, bytes),
            Self::Truncate(length) => to.resize(*length, 0),
        }
    }

    /// Does any part of it: each sector of a write reaches the disk or does not. The new length
    /// may get there without the bytes.
    fn tear(&self, to: &mut Vec<u8>, chance: &Random) {
        let Self::Write { offset, bytes } = self else { return };
        if below(chance, 2) == 0 && to.len() < offset + bytes.len() {
            to.resize(offset + bytes.len(), 0);
        }
        let mut at = *offset;
        let end = offset + bytes.len();
        while at < end {
            let sector_end = (at / SECTOR + 1) * SECTOR;
            let stop = sector_end.min(end);
            if below(chance, 2) == 0 {
                write(to, at, &bytes[at - offset..stop - offset]);
            }
            at = stop;
        }
    }
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A number below `bound`.
pub(crate) fn below(chance: &Random, bound: usize) -> usize {
    usize::try_from(chance.bits() % bound as u128).unwrap()
}

impl State {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let Node::Folder(folder) = &self.nodes[node] else { return Err(ErrorKind::NotADirectory.into()) };
            node = *folder.names.get(name.to_str().unwrap()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, node: usize) -> &mut Contents {
        match &mut self.nodes[node] {
            Node::File(contents) => contents,
            Node::Folder(_) => panic!("a folder was opened as a file"),
        }
    }

    fn used(&self) -> usize {
        let named = |node: &usize| match &self.nodes[*node] {
            Node::File(contents) => contents.bytes.len(),
            Node::Folder(_) => 0,
        };
        let folders =
            self.nodes.iter().filter_map(|node| if let Node::Folder(folder) = node { Some(folder) } else { None });
        folders.flat_map(|folder| folder.names.values()).map(named).sum()
    }

    /// Counts a call; the error it is to fail with.
    fn call(&mut self, call: Call) -> io::Result<()> {
        self.calls += 1;
        *self.counts.entry(call).or_default() += 1;
        let Some(fault) = self.fault else { return Ok(()) };
        let hit = match fault.lasting {
            Lasting::Once => self.calls == fault.at,
            Lasting::Persistent => self.calls >= fault.at,
        };
        if !hit {
            return Ok(());
        }
        self.failed.push(call);
        Err(fault.kind.into())
    }

    fn is_power_cut(&self) -> bool {
        self.fault.is_some_and(|fault| fault.power_cut)
    }

    fn write(&mut self, node: usize, bytes: &[u8], offset: usize) -> io::Result<()> {
        let mut result = self.call(Call::Write);
        let mut done = bytes.len();
        if result.is_err() {
            done = below(&self.chance, bytes.len() + 1);
        }
        if let Some(capacity) = self.capacity {
            let room = capacity.saturating_sub(self.used()) + self.file(node).bytes.len().saturating_sub(offset);
            if room < done {
                done = room;
                self.failed.push(Call::Write);
                result = Err(ErrorKind::StorageFull.into());
            }
        }
        self.file(node).change(Change::Write { offset, bytes: bytes[..done].to_vec() });
        result
    }

    fn sync(&mut self, node: usize) -> io::Result<()> {
        let result = self.call(Call::Sync);
        if result.is_ok() {
            self.file(node).sync();
        } else if !self.is_power_cut() {
            self.file(node).pending.clear();
        }
        result
    }
}

fn parts(path: &Path) -> (&Path, &str) {
    (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap())
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::CreateDir)?;
        if state.find(path).is_ok() {
            return Ok(());
        }
        let (parent, name) = parts(path);
        let node = state.nodes.len();
        state.folder(parent)?.set(name, Some(node));
        state.nodes.push(Node::Folder(Folder::default()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let result = state.call(Call::SyncDir);
        let power_cut = state.is_power_cut();
        let folder = state.folder(path)?;
        if result.is_ok() {
            folder.sync();
        } else if !power_cut {
            folder.pending.clear();
        }
        result
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut state = self.state();
        state.call(Call::List)?;
        let names = state.folder(path)?.names.clone();
        let entry = |(name, node): (String, usize)| match &state.nodes[node] {
            Node::File(contents) => DiskEntry { name, is_dir: false, length: contents.bytes.len() as u64 },
            Node::Folder(_) => DiskEntry { name, is_dir: true, length: 0 },
        };
        // In no order: backwards is as good as any, and not what anyone would rely on.
        Ok(names.into_iter().rev().map(entry).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        state.call(Call::Create)?;
        if state.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = parts(path);
        let node = state.nodes.len();
        state.folder(parent)?.set(name, Some(node));
        state.nodes.push(Node::File(Contents::default()));
        Ok(Box::new(SimFile { disk: self.clone(), node, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        state.call(Call::Open)?;
        let node = state.find(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, writable: false }))
    }

    fn open_to_append(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        state.call(Call::Open)?;
        let node = state.find(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, writable: true }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Remove)?;
        state.find(path)?;
        let (parent, name) = parts(path);
        state.folder(parent)?.set(name, None);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Remove)?;
        if !state.folder(path)?.names.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = parts(path);
        state.folder(parent)?.set(name, None);
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    node: usize,
    writable: bool,
}

impl SegmentFile for SimFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.writable, "written through a handle for reading");
        self.disk.state().write(self.node, bytes, usize::try_from(offset).unwrap())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.call(Call::Read)?;
        let bytes = &state.file(self.node).bytes;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        assert!(self.writable, "cut through a handle for reading");
        let mut state = self.disk.state();
        state.call(Call::Truncate)?;
        state.file(self.node).change(Change::Truncate(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.node)
    }
}
