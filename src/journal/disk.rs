//! The disk as the journal sees it: few calls, each of which a test can make fail.
//!
//! Nothing here retries or interprets an error. The second implementation is the simulated disk
//! of the tests, which forgets and tears what was not synced.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// The last part of the path; names that are not UTF-8 are none of ours and left out.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Bytes of a file; 0 for a folder.
    pub length: u64,
}

/// Folders and files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder; one that exists is fine.
    ///
    /// # Errors
    /// As the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As the system says; afterwards it is not known what is durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What is in a folder, in no order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;
    /// Makes a new, empty file for appending.
    ///
    /// # Errors
    /// As the system says; `AlreadyExists` when it does.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file for appending behind what it holds.
    ///
    /// # Errors
    /// As the system says.
    fn open_to_append(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    ///
    /// # Errors
    /// As the system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub trait SegmentFile: Debug + Send + Sync {
    /// Writes all of it at `offset`, which is the end of the file.
    ///
    /// # Errors
    /// As the system says; any part may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at most `buffer.len()` bytes; 0 at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file.
    ///
    /// # Errors
    /// As the system says.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Makes the contents and the length durable.
    ///
    /// # Errors
    /// As the system says; afterwards it is not known what is durable, and asking again would
    /// get a success that means nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(file: &dyn SegmentFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The real one. Files are 0600 and never followed through a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(NO_FOLLOW);
    options
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let Ok(name) = entry.file_name().into_string() {
                let length = if metadata.is_file() { metadata.len() } else { 0 };
                entries.push(DiskEntry { name, is_dir: metadata.is_dir(), length });
            }
        }
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(RealFile(options().write(true).create_new(true).open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(RealFile(options().open(path)?)))
    }

    fn open_to_append(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(RealFile(options().write(true).open(path)?)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }
}

impl SegmentFile for RealFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync: contents and length, without the times.
        self.0.sync_data()
    }
}
