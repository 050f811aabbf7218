//! Whether the index that lies there can be what it was.
//!
//! sled does not survive a power cut: what it had not yet got to the disk may be lost in places
//! and not in others, and some of it opens without a word. As long as the kernel that had the
//! pages lives on, a killed process loses nothing. So a small file beside the index tells how it
//! was left: closed and synced, or in use under this boot and this mount. Anything else, and the
//! index is built anew. Nothing here looks into the index itself.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const CLOSED: &str = "closed\n";

fn file_of(directory: &Path) -> PathBuf {
    directory.with_extension("session")
}

/// What the page cache of a folder lives and dies with: the boot, and the mount.
fn present(directory: &Path) -> Option<String> {
    /// `STATX_MNT_ID_UNIQUE`: never used for two mounts of one boot. Kernels before 6.8 do not know
    /// it; then only the boot counts.
    const UNIQUE_MOUNT: u32 = 0x4000;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let folder = File::open(directory.parent()?).ok()?;
    let flags = rustix::fs::StatxFlags::from_bits_retain(UNIQUE_MOUNT);
    let mount = rustix::fs::statx(&folder, "", rustix::fs::AtFlags::EMPTY_PATH, flags).ok();
    let mount = mount.filter(|found| found.stx_mask & UNIQUE_MOUNT != 0).map_or(0, |found| found.stx_mnt_id);
    Some(format!("in use {} {mount}\n", boot.trim()))
}

/// Tells whether the index in `directory` can be trusted, and notes that it is in use from now on.
#[must_use]
pub fn begin(directory: &Path) -> bool {
    let file = file_of(directory);
    let left = std::fs::read_to_string(&file).ok();
    let now = present(directory);
    let trusted = match &left {
        Some(left) if left == CLOSED => true,
        left => left.is_some() && *left == now,
    };
    let noted = match &now {
        Some(now) if left.as_ref() == Some(now) => Ok(()),
        Some(now) => write(&file, now),
        None => Err(std::io::Error::other("there is no boot id")),
    };
    if noted.is_err() {
        // On a full disk nothing can be noted, but a note that would be a lie can be taken away.
        let _ = std::fs::remove_file(&file);
        let _ = file.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
    }
    trusted
}

/// Notes that the index was closed, once everything of it is on the disk.
///
/// # Errors
/// As the system says; the next start then goes by the boot and the mount.
pub fn end(directory: &Path) -> std::io::Result<()> {
    // Not only its own files: sled's are many and come and go.
    rustix::fs::syncfs(File::open(directory)?)?;
    write(&file_of(directory), CLOSED)
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("session-new");
    let mut new = File::create(&unfinished)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    File::open(file.parent().unwrap_or(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_closed_or_is_still_in_the_page_cache_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index");
        std::fs::create_dir(&index).unwrap();
        assert!(!begin(&index), "nothing is known of it");
        assert!(begin(&index), "left by a process that was killed a moment ago");
        end(&index).unwrap();
        assert!(begin(&index), "closed");
        let note = std::fs::read_to_string(file_of(&index)).unwrap();
        std::fs::write(file_of(&index), note.replace("in use ", "in use 0")).unwrap();
        assert!(!begin(&index), "left by another boot");
        std::fs::write(file_of(&index), "").unwrap();
        assert!(!begin(&index), "the note itself did not survive");
    }
}
