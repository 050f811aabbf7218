//! Torn tails are cut, rot is quarantined, and the rest is served.

use postrider::journal::{Disk as _, Replayed, SegmentReader};

use super::*;

struct Stored {
    disk: SimDisk,
    path: PathBuf,
    bytes: Vec<u8>,
    committed: Vec<Committed>,
}

/// Seven records in one segment, behind its snapshot.
fn one_segment() -> Stored {
    let disk = new_disk();
    let mut opened = open(&disk);
    let committed = append_each(
        &mut opened,
        [20, 4, 6, 8, 1, 10, 3].map(|number| match number {
            10 => event_record(noon(), 10),
            number => record(noon(), number),
        }),
    );
    let path = segment_path(&opened, 1);
    let bytes = disk.contents(&path);
    Stored { disk, path, bytes, committed }
}

fn records(committed: &[Committed]) -> Vec<Record> {
    committed.iter().map(|one| (*one.record).clone()).collect()
}

impl Stored {
    fn with(&self, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
        let disk = self.disk.copy();
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        disk.set_contents(&self.path, &bytes);
        disk
    }

    /// All but those at the given places.
    fn without(&self, lost: &[usize]) -> Vec<Record> {
        let kept = self.committed.iter().enumerate().filter(|(place, _)| !lost.contains(place));
        kept.map(|(_, one)| (*one.record).clone()).collect()
    }
}

fn quarantine(disk: &SimDisk) -> Vec<Vec<u8>> {
    disk.files(&Path::new(DIRECTORY).join("quarantine")).iter().map(|file| disk.contents(file)).collect()
}

/// Opens, looks, appends, and looks again.
fn survives(disk: &SimDisk, expected: &[Record], what: &str) -> postrider::journal::RecoveryReport {
    let mut opened = open(disk);
    assert_eq!(records_of(&opened.journal), expected, "{what}");
    append_each(&mut opened, [event_record(noon(), 999)]);
    let again = open(disk);
    assert_eq!(records_of(&again.journal), [expected, &[event_record(noon(), 999)]].concat(), "{what}");
    assert_eq!((again.report.cut_bytes, again.report.quarantined), (0, 0), "{what}");
    opened.report
}

#[test]
fn cut_anywhere_in_the_last_three_records() {
    let stored = one_segment();
    let from = stored.committed[4].location.offset as usize;
    for length in from..=stored.bytes.len() {
        let disk = stored.with(|bytes| bytes.truncate(length));
        let whole =
            stored.committed.iter().filter(|one| (one.location.offset + one.location.length) as usize <= length);
        let whole: Vec<Committed> = whole.cloned().collect();
        let end = whole.last().map_or(0, |last| last.location.offset + last.location.length) as usize;
        let report = survives(&disk, &records(&whole), &format!("cut to {length}"));
        assert_eq!((report.cut_bytes, report.quarantined), ((length - end) as u64, 0));
    }
    let lengths = stored.bytes.len() - from + 1;
    crate::rows::covered(
        &["F5"],
        "cut_anywhere_in_the_last_three_records",
        format!("cut at each of {lengths} places: exactly the whole records before it are kept"),
    );
}

#[test]
fn cut_anywhere_in_the_only_snapshot() {
    let stored = one_segment();
    for length in 0..stored.committed[0].location.offset as usize {
        let disk = stored.with(|bytes| bytes.truncate(length));
        survives(&disk, &[], &format!("cut to {length}"));
    }
}

#[test]
fn every_flipped_bit_of_a_record_in_the_middle_loses_that_record_alone() {
    let stored = one_segment();
    let place = 3;
    let location = stored.committed[place].location;
    let range = location.offset as usize..(location.offset + location.length) as usize;
    for bit in range.start * 8..range.end * 8 {
        let disk = stored.with(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let damaged = disk.contents(&stored.path)[range.clone()].to_vec();
        let opened = open(&disk);
        assert_eq!(records_of(&opened.journal), stored.without(&[place]), "bit {bit}");
        assert_eq!((opened.report.cut_bytes, opened.report.quarantined), (0, 1), "bit {bit}");
        assert_eq!(opened.journal.quarantined(), 1);
        assert_eq!(quarantine(&disk), [damaged], "bit {bit}");
        assert!(matches!(opened.journal.read(location), Err(JournalError::Damaged(_))));
        assert_eq!(open(&disk).report.quarantined, 0, "it is counted once");
    }
    crate::rows::covered(
        &["F5", "F9"],
        "every_flipped_bit_of_a_record_in_the_middle_loses_that_record_alone",
        format!("each of {} bits flipped: that record is set aside, all others are kept", location.length * 8),
    );
}

#[test]
fn every_flipped_bit_of_the_last_record_loses_that_record_alone() {
    let stored = one_segment();
    let place = stored.committed.len() - 1;
    let location = stored.committed[place].location;
    for bit in location.offset as usize * 8..stored.bytes.len() * 8 {
        let disk = stored.with(|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let report = survives(&disk, &stored.without(&[place]), &format!("bit {bit}"));
        assert_eq!((report.cut_bytes, report.quarantined), (u64::from(location.length), 0));
        // If it was rot, others know it by its sequence, which must not mean something else now.
        let sequences: Vec<u64> = replay(&open(&disk).journal, 0, u64::MAX).iter().map(|one| one.sequence).collect();
        assert!(!sequences.contains(&stored.committed[place].sequence));
    }
    crate::rows::covered(
        &["F5"],
        "every_flipped_bit_of_the_last_record_loses_that_record_alone",
        format!("each of {} bits flipped: that record is cut, all before it are kept", location.length * 8),
    );
}

#[test]
fn garbage_and_zeros_behind_the_end_are_cut() {
    let stored = one_segment();
    let all = stored.without(&[]);
    let tails: [Vec<u8>; 5] =
        [vec![0; 64 << 10], vec![0xff; 3], b"PRJ1".repeat(20_000), stored.bytes[..31].to_vec(), vec![0; 1]];
    for tail in tails {
        let disk = stored.with(|bytes| bytes.extend_from_slice(&tail));
        let report = survives(&disk, &all, "garbage");
        assert_eq!((report.cut_bytes, report.quarantined), (tail.len() as u64, 0));
    }
}

/// What a block that was used before brings back checks out by itself, but not at this place.
#[test]
fn records_out_of_order_do_not_check_out() {
    let stored = one_segment();
    let first = stored.committed[1].location.offset as usize;
    let disk = stored.with(|bytes| bytes.extend_from_within(first..));
    survives_with_quarantine(&disk, &stored.without(&[]));
    // One that claims a sequence far ahead would make all that follow it look old.
    let other_disk = disk_at(5_000);
    let mut other = open(&other_disk);
    let foreign = append_each(&mut other, [event_record(noon(), 5)]).remove(0);
    assert_eq!(foreign.sequence, 5_001);
    let from = foreign.location.offset as usize;
    let ahead = other_disk.contents(&segment_path(&other, 5_000)).split_off(from);
    let disk = stored.with(|bytes| {
        bytes.splice(first..first, ahead);
    });
    survives_with_quarantine(&disk, &stored.without(&[]));
}

fn survives_with_quarantine(disk: &SimDisk, expected: &[Record]) {
    assert!(survives(disk, expected, "out of order").quarantined > 0);
}

/// A journal whose next sequence is high, because of an empty segment with a high name.
fn disk_at(sequence: u64) -> SimDisk {
    let disk = new_disk();
    let folder = Path::new(DIRECTORY).join(noon().day().to_string());
    disk.create_dir(Path::new(DIRECTORY)).unwrap();
    disk.create_dir(&folder).unwrap();
    drop(disk.create(&folder.join(format!("{sequence:020}.seg"))).unwrap());
    disk
}

/// A newer version's record at the very end is no torn write: it was acknowledged.
#[test]
fn a_whole_record_that_is_not_understood_is_never_cut() {
    let stored = one_segment();
    let last = stored.committed.last().unwrap();
    let at = last.location.offset as usize;
    let disk = stored.with(|bytes| {
        bytes[at + 4] = 2;
        let crc = crc32c::crc32c(&bytes[at..at + 28]);
        bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
    });
    let before = disk.contents(&stored.path);
    let report = survives(&disk, &stored.without(&[stored.committed.len() - 1]), "newer version");
    assert_eq!((report.cut_bytes, report.quarantined), (0, 1));
    assert!(disk.contents(&stored.path).starts_with(&before));
    let sequences: Vec<u64> = replay(&open(&disk).journal, 0, u64::MAX).iter().map(|one| one.sequence).collect();
    assert!(!sequences.contains(&last.sequence), "its sequence is taken");
}

fn many_segments() -> (SimDisk, Opened, Vec<Committed>) {
    let disk = new_disk();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 1_200).unwrap();
    let committed = append_each(&mut opened, (0..40).map(|number| record(noon(), number)));
    assert!(opened.journal.segments().len() > 4);
    (disk, opened, committed)
}

fn damage_byte(disk: &SimDisk, path: &Path, at: usize) {
    let mut bytes = disk.contents(path);
    bytes[at] ^= 0x10;
    disk.set_contents(path, &bytes);
}

#[test]
fn damage_in_an_earlier_segment_is_found_by_a_replay() {
    let (disk, opened, committed) = many_segments();
    let lost = committed.iter().find(|one| one.location.segment > 1 && one.location.offset > 300).unwrap();
    damage_byte(&disk, &segment_path(&opened, lost.location.segment), lost.location.offset as usize + 40);
    let again = open(&disk);
    assert_eq!(again.report.quarantined, 0, "the start does not read so far back");
    let expected: Vec<Record> = records(&committed).into_iter().filter(|record| *record != *lost.record).collect();
    assert_eq!(records_of(&again.journal), expected);
    assert_eq!((again.journal.quarantined(), quarantine(&disk).len()), (1, 1));
    assert_eq!(records_of(&again.journal), expected);
    assert_eq!(again.journal.quarantined(), 1);
    assert_eq!(again.image, image_of(&opened.journal));
}

#[test]
fn without_the_last_snapshot_the_configuration_comes_from_before() {
    let (disk, opened, committed) = many_segments();
    let image = image_of(&opened.journal);
    assert!(!image.entries.is_empty());
    let names: Vec<u64> = opened.journal.segments().into_keys().collect();
    // One by one, from the newest to all of them.
    for name in names.iter().rev() {
        damage_byte(&disk, &segment_path(&opened, *name), 33);
        let mut again = open(&disk);
        assert_eq!(again.image, image, "snapshot {name}");
        assert_eq!(records_of(&again.journal), records(&committed));
        assert_eq!(again.journal.last_committed(), opened.journal.last_committed());
        let copy = disk.copy();
        let mut other = open(&copy);
        let more = append_each(&mut other, [record(noon(), 400)]);
        assert!(more[0].sequence > opened.journal.last_committed());
        assert!(!again.committer.commit_waiting(&mut Ledger::default()));
    }
}

#[test]
fn a_segment_of_nothing_but_damage_is_survived() {
    for length in [1, 31, 32, 33, 500, 70_000] {
        for filler in [0_u8, 0xff] {
            let (disk, opened, committed) = many_segments();
            let newest = *opened.journal.segments().last_key_value().unwrap().0;
            disk.set_contents(&segment_path(&opened, newest), &vec![filler; length]);
            let kept: Vec<Committed> = committed.iter().filter(|one| one.location.segment != newest).cloned().collect();
            let report = survives(&disk, &records(&kept), "a wiped segment");
            assert_eq!(report.cut_bytes, length as u64);
        }
    }
}

/// Scanning is linear: this is a few passes over 64 MiB, or it is hours.
#[test]
fn a_large_stretch_of_damage_is_passed_quickly() {
    let disk = new_disk();
    let path = Path::new("/data/segment");
    for pattern in [&[0_u8; 4][..], b"PRJ1"] {
        drop(disk.create(path));
        disk.set_contents(path, &pattern.repeat((64 << 20) / pattern.len()));
        let file = disk.open(path).unwrap();
        let mut reader = SegmentReader::new(&*file, 1, 64 << 20);
        let Some(Replayed::Damaged { offset: 0, bytes }) = reader.next().unwrap() else { panic!("one stretch") };
        assert_eq!(bytes.len(), SegmentReader::KEPT_MAX);
        assert!(reader.next().unwrap().is_none());
        let reads = disk.count(crate::support::sim_disk::Call::Read);
        assert!(reads < 600, "{reads} reads");
    }
}
