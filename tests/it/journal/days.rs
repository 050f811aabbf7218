//! Removing a day.

use std::io::ErrorKind;

use super::*;
use crate::support::sim_disk::Lasting;

fn three_days(disk: &SimDisk) -> (Opened, Vec<Committed>) {
    let mut opened = open_at(disk, Clock::simulated(noon()), 600).unwrap();
    let mut committed = append_each(&mut opened, [record(noon(), 2)]);
    for days_ago in [2, 1, 0] {
        let at = noon().minus(DAY * days_ago);
        committed.extend(append_each(
            &mut opened,
            (0..6).map(|number| event_record(at, 100 * u64::from(days_ago) + number)),
        ));
    }
    (opened, committed)
}

#[test]
fn a_removed_day_is_gone_and_the_rest_stays() {
    let disk = new_disk();
    let (opened, committed) = three_days(&disk);
    let image = image_of(&opened.journal);
    let day = noon().minus(DAY).day();
    remove_day(&opened.journal, day).unwrap();
    remove_day(&opened.journal, day).unwrap();
    let again = open(&disk);
    for one in &committed {
        let of_the_day = matches!(&*one.record, Record::Event { event, .. } if event.created_at().day() == day);
        match again.journal.read(one.location) {
            Ok(record) => assert!(!of_the_day && record == one.record),
            Err(JournalError::Gone(_)) => assert!(of_the_day),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        !disk
            .files(Path::new(DIRECTORY))
            .iter()
            .any(|file| file.starts_with(Path::new(DIRECTORY).join(day.to_string())))
    );
    assert_eq!(again.image, image);
}

#[test]
fn a_removal_that_failed_half_way_is_finished_by_the_next() {
    let day = noon().minus(DAY).day();
    for n in 1.. {
        let disk = new_disk();
        let (opened, _) = three_days(&disk);
        disk.fail_at(n, ErrorKind::Other, Lasting::Once);
        let result = remove_day(&opened.journal, day);
        assert_eq!(result.is_err(), !disk.failed().is_empty());
        let was_last = disk.failed().is_empty();
        // As long as something is left it is one of the days, so that it is tried again.
        assert_eq!(opened.journal.days().contains(&day), result.is_err(), "call {n}");
        disk.heal();
        remove_day(&opened.journal, day).unwrap();
        assert!(opened.journal.segments().values().all(|segment| segment.day != day));
        let folder = Path::new(DIRECTORY).join(day.to_string());
        assert!(disk.files(Path::new(DIRECTORY)).iter().all(|file| !file.starts_with(&folder)), "call {n}");
        if was_last {
            break;
        }
    }
}

#[test]
fn the_newest_segment_stays_because_the_configuration_is_in_it() {
    let disk = new_disk();
    let (mut opened, _) = three_days(&disk);
    let image = image_of(&opened.journal);
    let days: BTreeSet<_> = opened.journal.segments().values().map(|segment| segment.day).collect();
    for day in &days {
        remove_day(&opened.journal, *day).unwrap();
    }
    assert_eq!(opened.journal.segments().len(), 1);
    let again = open(&disk);
    assert_eq!(again.image, image);
    assert!(!again.image.entries.is_empty());
    assert_eq!(again.journal.last_committed(), opened.journal.last_committed());
    // Where it writes is still there.
    let more = append_each(&mut opened, [event_record(noon(), 700)]);
    assert_eq!(*open(&disk).journal.read(more[0].location).unwrap(), *more[0].record);
    // It goes once there is a newer one.
    let clock = Clock::simulated(noon().plus(DAY));
    let mut later = open_at(&disk, clock, 600).unwrap();
    append_each(&mut later, [record(noon().plus(DAY), 6)]);
    remove_day(&later.journal, noon().day()).unwrap();
    assert_eq!(later.journal.segments().len(), 1);
    assert_eq!(open(&disk).image, image);
}
