//! The real disk.

use std::os::unix::fs::PermissionsExt as _;

use postrider::journal::{Disk, RealDisk};

use super::*;

fn open_real(directory: &Path) -> Result<Opened, JournalError> {
    Journal::open(Arc::new(RealDisk), directory.to_owned(), Clock::simulated(noon()), Options::default())
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_can_read_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("journal");
    let mut opened = open_real(&directory).unwrap();
    let committed = append_each(&mut opened, (0..20).map(|number| record(noon(), number)));
    let day = directory.join(noon().day().to_string());
    let segment = day.join("00000000000000000001.seg");
    for path in [&directory, &day, &directory.join("quarantine")] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    assert_eq!(mode(&segment), 0o600);
    let again = open_real(&directory).unwrap();
    let expected: Vec<Record> = committed.iter().map(|one| (*one.record).clone()).collect();
    assert_eq!(records_of(&again.journal), expected);
    // Torn, damaged, and removed, as on the simulated disk.
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[committed[3].location.offset as usize + 50] ^= 1;
    bytes.truncate(bytes.len() - 5);
    std::fs::write(&segment, bytes).unwrap();
    let again = open_real(&directory).unwrap();
    assert_eq!((again.report.quarantined, again.report.cut_bytes > 0), (1, true));
    assert_eq!(records_of(&again.journal).len(), 18);
    let copies: Vec<_> = std::fs::read_dir(directory.join("quarantine")).unwrap().collect();
    assert_eq!(mode(&copies[0].as_ref().unwrap().path()), 0o600);
    let mut again = open_real(&directory).unwrap();
    append_each(&mut again, [event_record(noon().plus(DAY), 4)]);
    remove_day(&again.journal, noon().day()).unwrap();
    assert!(!day.exists());
}

#[test]
fn a_segment_behind_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("journal");
    let mut opened = open_real(&directory).unwrap();
    append_each(&mut opened, [event_record(noon(), 4)]);
    let segment = segment_path_in(&directory);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &segment).unwrap();
    let before = std::fs::read(&elsewhere).unwrap();
    assert!(matches!(open_real(&directory), Err(JournalError::Io { path, .. }) if path == segment));
    assert!(RealDisk.open(&segment).is_err() && RealDisk.open_to_append(&segment).is_err());
    assert!(RealDisk.create(&segment).is_err());
    assert_eq!(std::fs::read(&elsewhere).unwrap(), before);
}

fn segment_path_in(directory: &Path) -> PathBuf {
    directory.join(noon().day().to_string()).join("00000000000000000001.seg")
}

/// Whatever is left after a kill half way, no event may be there without the attempts that were made of it.
#[test]
fn the_files_of_a_day_go_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("journal");
    let options = Options { segment_bytes_max: 600 };
    let opened = |at| Journal::open(Arc::new(RealDisk), directory.clone(), Clock::simulated(at), options).unwrap();
    append_each(&mut opened(noon()), (0..40).map(|number| event_record(noon(), number)));
    let mut later = opened(noon().plus(DAY));
    append_each(&mut later, [event_record(noon().plus(DAY), 41)]);
    let day = noon().day();
    let names = || {
        let entries = std::fs::read_dir(directory.join(day.to_string())).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let mut expected = names();
    assert!(expected.len() > 8, "{expected:?}");
    while !expected.is_empty() {
        assert!(!later.journal.remove_some_of(day).unwrap());
        expected.pop_first();
        assert_eq!(names(), expected);
    }
    assert!(later.journal.remove_some_of(day).unwrap());
}
