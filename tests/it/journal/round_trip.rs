//! What goes in comes out, in order, from the right folders.

use postrider::domain::event::Location;
use postrider::journal::RECORD_MAX;

use super::*;

#[test]
fn every_kind_goes_through_the_disk_over_many_segments() {
    let disk = new_disk();
    let mut promises = Promises::default();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 900).unwrap();
    let mut ledger = Ledger::default();
    for number in 0..300 {
        let (_, record) = promises.next(noon().minus(DAY * u32::try_from(number % 3).unwrap()));
        let mut ticket = opened.journal.append(record.clone()).unwrap();
        opened.committer.commit_waiting(&mut ledger);
        let committed = ticket.try_recv().unwrap().unwrap();
        assert_eq!(*committed.record, record);
        assert_eq!(opened.journal.last_committed(), committed.sequence);
    }
    promises.keep(ledger.0);
    assert!(opened.journal.segments().len() > 50);
    let (again, found) = promises.verify(&disk, Clock::simulated(noon()), 900);
    assert_eq!(found.len(), promises.committed.len());
    assert_eq!(again.report.cut_bytes + again.report.quarantined, 0);
    assert_eq!(again.journal.segments(), opened.journal.segments());
    let records: Vec<Record> = promises.appended.into_values().collect();
    assert_eq!(records_of(&again.journal), records);
}

#[test]
fn replay_is_exact_at_every_border() {
    let disk = new_disk();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 500).unwrap();
    append_each(&mut opened, (0..24).map(|number| record(noon(), number)));
    let last = opened.journal.last_committed();
    assert!(opened.journal.segments().len() > 5);
    for from in 0..=last + 2 {
        for to in 0..=last + 2 {
            let sequences: Vec<u64> = replay(&opened.journal, from, to).iter().map(|one| one.sequence).collect();
            let expected: Vec<u64> = (from.max(1)..=to.min(last)).collect();
            assert_eq!(sequences, expected, "{from}..={to}");
        }
    }
}

#[test]
fn what_each_asks_ends_a_replay() {
    let disk = new_disk();
    let mut opened = open(&disk);
    append_each(&mut opened, (0..4).map(|number| record(noon(), number)));
    let mut seen = 0;
    let result = opened.journal.replay(0, u64::MAX, |_| {
        seen += 1;
        if seen == 3 { Err(JournalError::Busy(3)) } else { Ok(()) }
    });
    assert!(matches!(result, Err(JournalError::Busy(3))));
    assert_eq!(seen, 3);
}

#[test]
fn each_record_lies_in_its_day() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let today = noon().day();
    let (three_ago, two_ago, yesterday) = (noon().minus(DAY * 3), noon().minus(DAY * 2), noon().minus(DAY));
    let cases = [
        (event_record(noon(), 4), today),
        (event_record(yesterday, 5), yesterday.day()),
        (record(yesterday, 6), today),
        (record(yesterday, 7), today),
        (record(yesterday, 8), today),
        (skipped_record(yesterday, 17), yesterday.day()),
        (audit_record(yesterday, 10), yesterday.day()),
        // Still to be sent: as good as new.
        (carry_record(three_ago, 9, None), today),
        (carry_record(three_ago, 15, Some(two_ago)), two_ago.day()),
    ];
    let mut tickets = Vec::new();
    for (record, _) in &cases {
        tickets.push(opened.journal.append(record.clone()).unwrap());
    }
    // In one batch, so that the folders have to be sorted.
    assert!(opened.committer.commit_waiting(&mut Ledger::default()));
    for ((record, day), mut ticket) in cases.into_iter().zip(tickets) {
        let committed = ticket.try_recv().unwrap().unwrap();
        assert_eq!(*committed.record, record);
        assert_eq!(opened.journal.day_of(committed.location.segment), Some(day), "{record:?}");
        let path = segment_path(&opened, committed.location.segment);
        assert!(disk.files(Path::new(DIRECTORY)).contains(&path));
    }
    let newest = *opened.journal.segments().last_key_value().unwrap().1;
    assert_eq!(newest.day, today, "the segment that is left open is today's");
}

#[test]
fn recent_events_are_read_without_the_disk_and_others_from_it() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let committed = append_each(&mut opened, [event_record(noon(), 4), record(noon(), 2)]);
    let reads = disk.calls();
    assert_eq!(*opened.journal.read(committed[0].location).unwrap(), *committed[0].record);
    assert!(opened.journal.read_recent(committed[0].location).is_some());
    assert_eq!(disk.calls(), reads);
    assert!(opened.journal.read_recent(committed[1].location).is_none(), "only events are sent again");
    assert_eq!(*opened.journal.read(committed[1].location).unwrap(), *committed[1].record);
    let again = open(&disk).journal;
    assert!(again.read_recent(committed[0].location).is_none());
    assert_eq!(*again.read(committed[0].location).unwrap(), *committed[0].record);
}

#[test]
fn the_cache_is_bounded_and_forgets_the_oldest() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let large = |number| match event_record(noon(), number) {
        Record::Event { event, targets, skipped, .. } => {
            Record::Event { event, targets, skipped, payload: Bytes::from(vec![b'x'; 1 << 20]) }
        }
        other => other,
    };
    let committed = append_each(&mut opened, (0..12).map(large));
    let recent: Vec<bool> = committed.iter().map(|one| opened.journal.read_recent(one.location).is_some()).collect();
    assert_eq!(recent, [[false; 9].as_slice(), &[true; 3]].concat());
    assert_eq!(*opened.journal.read(committed[0].location).unwrap(), *committed[0].record);
}

#[test]
fn a_record_that_is_too_long_is_refused_before_it_is_written() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let sized = |bytes: usize| match event_record(noon(), 4) {
        Record::Event { event, targets, skipped, .. } => {
            Record::Event { event, targets, skipped, payload: vec![0; bytes].into() }
        }
        other => other,
    };
    let overhead = append_each(&mut opened, [sized(0)])[0].location.length as usize;
    let longest = sized(RECORD_MAX - overhead);
    assert_eq!(append_each(&mut opened, [longest.clone()])[0].location.length as usize, RECORD_MAX);
    let longer = sized(RECORD_MAX - overhead + 1);
    assert!(matches!(opened.journal.append(longer.clone()), Err(JournalError::TooLong(_))));
    assert!(matches!(opened.journal.append_fact(longer), Err(JournalError::TooLong(_))));
    assert_eq!(opened.journal.waiting_bytes(), 0);
    assert_eq!(records_of(&open(&disk).journal), [sized(0), longest]);
}

#[test]
fn an_unknown_segment_is_gone() {
    let disk = new_disk();
    let opened = open(&disk);
    let location = Location { segment: 77, offset: 0, length: 40 };
    assert!(matches!(opened.journal.read(location), Err(JournalError::Gone(_))));
}
