//! A store as one file: a tar archive of the journal as it was at one moment, to be kept elsewhere and to be made a
//! store again. Every tool that knows tar can look into it, and `sha256sum -c SHA256SUMS` checks what was unpacked.
//!
//! It does not decide when, where to, or who may. Secrets are in it as they are in the journal, sealed; the master
//! key is not. Invariants: what is unpacked has been checked against its digest and, record by record, against its
//! checksums; an archive that ends early is noticed, because the digests stand at its end; nothing is written but
//! under names that this module made itself.
//!
//! ```text
//! postrider-backup.json     what it is, and up to which sequence everything is in it
//! mail.json                 mail that was still to be sent
//! journal/2026-11-23/00000000000000000001.seg
//! …
//! SHA256SUMS                a line for each file above
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use crate::domain::time::{Day, Timestamp};
use crate::journal::{Disk, RealDisk, Replayed, SegmentFile, SegmentReader};

const ABOUT: &str = "postrider-backup.json";
const MAIL: &str = "mail.json";
const SUMS: &str = "SHA256SUMS";
const JOURNAL: &str = "journal";
/// What is written by this version, and the only thing that it reads.
const FORMAT: u32 = 1;
/// The first and the last file are read into memory; a line of the last is some 120 bytes.
const SMALL_MAX: u64 = 64 << 20;
/// Bytes that are written at once.
const PIECE: usize = 256 << 10;

/// What an archive says of itself.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct About {
    /// Of this archive.
    pub format: u32,
    /// The version of postrider that wrote it.
    pub version: String,
    /// Milliseconds since 1970, UTC.
    pub taken_at_ms: u64,
    /// Every record up to this sequence is in it.
    pub position: u64,
    /// Segments in it.
    pub segments: usize,
}

impl About {
    /// For an archive that is made now.
    #[must_use]
    pub fn new(taken_at: Timestamp, position: u64, segments: usize) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, version, taken_at_ms: taken_at.millis(), position, segments }
    }
}

/// A segment that goes into an archive.
#[derive(Debug)]
pub struct Part {
    /// The folder it is in.
    pub day: Day,
    /// The sequence of its first record, which it is named by.
    pub name: u64,
    /// So many bytes of it.
    pub length: u64,
}

/// Writes an archive; `open` gives the file of a part, one after the other.
///
/// # Errors
/// Of reading and of writing. What was written until then is not a whole archive, and [`unpack`] notices.
pub fn pack(
    about: &About,
    mail: Option<&[u8]>,
    parts: &[Part],
    open: impl Fn(&Part) -> io::Result<Box<dyn SegmentFile>>,
    out: impl Write,
) -> io::Result<()> {
    let mut packer = Packer { tar: Builder::new(BufWriter::with_capacity(PIECE, out)), about, sums: String::new() };
    packer.file(ABOUT, &serde_json::to_vec_pretty(about)?)?;
    if let Some(mail) = mail {
        packer.file(MAIL, mail)?;
    }
    for part in parts {
        let file = open(part)?;
        let path = format!("{JOURNAL}/{}/{:020}.seg", part.day, part.name);
        packer.add(&path, part.length, Stretch { file: &*file, offset: 0, end: part.length })?;
    }
    let sums = std::mem::take(&mut packer.sums);
    packer.file(SUMS, sums.as_bytes())?;
    packer.tar.into_inner()?.flush()
}

struct Packer<'a, W: Write> {
    tar: Builder<BufWriter<W>>,
    about: &'a About,
    sums: String,
}

impl<W: Write> Packer<'_, W> {
    fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.add(path, bytes.len() as u64, bytes)
    }

    fn add(&mut self, path: &str, length: u64, from: impl Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_path(path)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(length);
        header.set_mode(0o600);
        header.set_mtime(self.about.taken_at_ms / 1000);
        header.set_cksum();
        let mut digested = Digested { inner: from, digest: Sha256::new(), length: 0 };
        self.tar.append(&header, &mut digested)?;
        // The header has promised so many.
        if digested.length != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} is shorter than it was")));
        }
        self.sums.push_str(&format!("{}  {path}\n", digested.hex()));
        Ok(())
    }
}

/// The first bytes of a segment.
struct Stretch<'a> {
    file: &'a dyn SegmentFile,
    offset: u64,
    end: u64,
}

impl Read for Stretch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Counts and digests what passes.
struct Digested<R> {
    inner: R,
    digest: Sha256,
    length: u64,
}

impl<R> Digested<R> {
    fn hex(&mut self) -> String {
        HEXLOWER.encode(&self.digest.finalize_reset())
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.length += read as u64;
        Ok(read)
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is none, is damaged, or is not whole.
    #[error("not a whole backup: {0}")]
    Bad(String),
    /// A version that does not exist yet has written it.
    #[error(
        "a backup of format {0}, written by postrider {1}: this version reads format {FORMAT}; use that version, or a newer one"
    )]
    Format(u32, String),
    /// Where it was to go can not be written to, or the archive not be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// What the archive says of itself.
    pub about: About,
    /// Records that check out.
    pub records: u64,
    /// Stretches that do not, as they did not when the archive was made.
    pub damaged: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// There was mail to be sent.
    pub mail: bool,
}

/// Unpacks an archive into a folder that is there and is empty: `journal/` and perhaps `mail.json`. Everything is on
/// stable storage when this returns.
///
/// # Errors
/// See [`BackupError`]. What is in the folder then is of no use.
pub fn unpack(from: impl Read, folder: &Path) -> Result<Unpacked, BackupError> {
    let mut archive = Archive::new(from);
    let entries = archive.entries().map_err(|error| BackupError::Bad(error.to_string()))?;
    let mut unpacker = Unpacker { folder, sums: String::new(), about: None, days: Vec::new(), unpacked: None };
    for entry in entries {
        // A damaged header looks like an archive that is none.
        let entry = entry.map_err(|error| BackupError::Bad(error.to_string()))?;
        let path = entry.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let path = path.filter(|_| entry.header().entry_type() == EntryType::Regular);
        let path = path.ok_or_else(|| BackupError::Bad("something in it is no file, or has no name".to_owned()))?;
        if unpacker.take(&path, entry)? {
            return unpacker.finish();
        }
    }
    Err(BackupError::Bad(format!("it ends before {SUMS}")))
}

struct Unpacker<'a> {
    folder: &'a Path,
    sums: String,
    about: Option<About>,
    days: Vec<PathBuf>,
    unpacked: Option<Unpacked>,
}

impl Unpacker<'_> {
    /// Whether that was the last one.
    fn take(&mut self, path: &str, mut entry: impl Read) -> Result<bool, BackupError> {
        let Some(unpacked) = &mut self.unpacked else {
            if path != ABOUT {
                return Err(BackupError::Bad(format!("it does not begin with {ABOUT}")));
            }
            let bytes = small(&mut entry)?;
            let about = about(&bytes)?;
            self.sums.push_str(&format!("{}  {path}\n", HEXLOWER.encode(&Sha256::digest(&bytes))));
            self.about = Some(about.clone());
            self.unpacked = Some(Unpacked { about, records: 0, damaged: 0, bytes: 0, mail: false });
            return Ok(false);
        };
        if path == SUMS {
            let same = small(&mut entry)? == self.sums.as_bytes();
            return if same { Ok(true) } else { Err(BackupError::Bad("a digest does not fit".to_owned())) };
        }
        let part = segment(path);
        let target = match &part {
            Some((day, name)) => {
                let day_folder = self.folder.join(JOURNAL).join(day.to_string());
                if !self.days.contains(&day_folder) {
                    let made = DirBuilder::new().recursive(true).mode(0o700).create(&day_folder);
                    made.map_err(|error| io_at(&day_folder, error))?;
                    self.days.push(day_folder.clone());
                }
                day_folder.join(format!("{name:020}.seg"))
            }
            None if path == MAIL => self.folder.join(MAIL),
            None => return Err(BackupError::Bad("it holds a file that no backup has".to_owned())),
        };
        let mut digested = Digested { inner: entry, digest: Sha256::new(), length: 0 };
        write_whole(&target, &mut digested)?;
        self.sums.push_str(&format!("{}  {path}\n", digested.hex()));
        match part {
            Some((_, name)) => {
                unpacked.bytes += digested.length;
                check(&target, name, digested.length, unpacked)?;
            }
            None => unpacked.mail = true,
        }
        Ok(false)
    }

    /// Makes the names durable.
    fn finish(self) -> Result<Unpacked, BackupError> {
        let folders = self.days.into_iter().chain([self.folder.join(JOURNAL), self.folder.to_owned()]);
        for folder in folders {
            // Without a segment there is no folder.
            if folder.exists() {
                RealDisk.sync_dir(&folder).map_err(|error| io_at(&folder, error))?;
            }
        }
        self.unpacked.ok_or_else(|| BackupError::Bad("it is empty".to_owned()))
    }
}

fn io_at(path: &Path, error: io::Error) -> BackupError {
    BackupError::Io { path: path.to_owned(), error }
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.take(SMALL_MAX).read_to_end(&mut bytes).map_err(|error| BackupError::Bad(error.to_string()))?;
    Ok(bytes)
}

fn about(bytes: &[u8]) -> Result<About, BackupError> {
    let bad = |error: serde_json::Error| BackupError::Bad(format!("{ABOUT}: {error}"));
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(bad)?;
    let format = value["format"].as_u64().and_then(|format| u32::try_from(format).ok()).unwrap_or_default();
    if format != FORMAT {
        let version = value["version"].as_str().unwrap_or("?").chars().take(40).collect();
        return Err(BackupError::Format(format, version));
    }
    serde_json::from_value(value).map_err(bad)
}

/// Day and name of a segment, when the path is that of one, written as [`pack`] writes it.
fn segment(path: &str) -> Option<(Day, u64)> {
    let (day, file) = path.strip_prefix(JOURNAL)?.strip_prefix('/')?.split_once('/')?;
    let name = file.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    let (day, name) = (Day::parse(day)?, name.parse().ok()?);
    (path == format!("{JOURNAL}/{day}/{name:020}.seg")).then_some((day, name))
}

fn write_whole(path: &Path, from: &mut impl Read) -> Result<(), BackupError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| io_at(path, error))?;
    let mut file = BufWriter::with_capacity(PIECE, file);
    let mut piece = vec![0; PIECE];
    loop {
        // The archive is at fault for what can not be read, the disk for what can not be written.
        let read = from.read(&mut piece).map_err(|error| BackupError::Bad(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&piece[..read]).map_err(|error| io_at(path, error))?;
    }
    let file: File = file.into_inner().map_err(|error| io_at(path, error.into_error()))?;
    file.sync_all().map_err(|error| io_at(path, error))
}

fn check(path: &Path, name: u64, length: u64, unpacked: &mut Unpacked) -> Result<(), BackupError> {
    let file = RealDisk.open(path).map_err(|error| io_at(path, error))?;
    let mut reader = SegmentReader::new(&*file, name, length);
    while let Some(item) = reader.next().map_err(|error| io_at(path, error))? {
        match item {
            Replayed::Record(_) => unpacked.records += 1,
            Replayed::Damaged { .. } => unpacked.damaged += 1,
        }
    }
    Ok(())
}
