//! Each call of a script fails once, one after the other, and the promises hold.

use std::io::ErrorKind;

use super::*;
use crate::support::sim_disk::{Call, Lasting};

const SEGMENT_BYTES_MAX: u64 = 1500;

struct Outcome {
    promises: Promises,
    failed: bool,
    opened: bool,
}

/// Batches of several kinds and days, with rotations. Checks the answers on the way.
fn script(disk: &SimDisk, clock: Clock) -> Outcome {
    let mut promises = Promises::default();
    let Ok(mut opened) = open_at(disk, clock, SEGMENT_BYTES_MAX) else {
        return Outcome { promises, failed: true, opened: false };
    };
    let mut ledger = Ledger::default();
    let mut over = false;
    let mut facts = Vec::new();
    for step in 0..10_u32 {
        let mut tickets = Vec::new();
        for place in 0..=step % 4 {
            let (number, record) = promises.next(noon().minus(DAY * ((step + place) % 2)));
            if number % 3 == 0 {
                if opened.journal.append_fact(record).is_ok() {
                    facts.push(number);
                }
            } else {
                tickets.push((number, opened.journal.append(record)));
            }
        }
        opened.committer.commit_waiting(&mut ledger);
        for (number, ticket) in tickets {
            match ticket.and_then(|mut ticket| ticket.try_recv().unwrap()) {
                Ok(_) => assert!(!over, "{number} was acknowledged after a failure"),
                Err(JournalError::Full) => {
                    promises.taken_back.insert(number);
                }
                Err(JournalError::Failed(_)) => assert!(opened.journal.failure().is_some()),
                Err(other) => panic!("{other}"),
            }
        }
        over = opened.journal.failure().is_some();
        let sync_failed = disk.failed().iter().any(|call| matches!(call, Call::Sync | Call::SyncDir));
        assert!(over || !sync_failed, "a failed sync is final");
    }
    // Facts that found the disk full have another go.
    while opened.committer.commit_waiting(&mut ledger) && opened.journal.failure().is_none() {
        if disk.failed().len() > 100 {
            break;
        }
    }
    promises.keep(ledger.0);
    if opened.journal.failure().is_none() && disk.failed().len() <= 1 {
        let kept: BTreeSet<_> = promises.committed.values().filter_map(|one| number_of(&one.record)).collect();
        assert!(
            facts.iter().all(|fact| kept.contains(fact)),
            "facts are never lost to a disk that was full for a moment"
        );
    }
    Outcome { promises, failed: opened.journal.failure().is_some(), opened: true }
}

/// How many calls failed, one in each run.
fn every_call_fails(kind: ErrorKind, lasting: Lasting) -> u64 {
    let clock = Clock::simulated(noon());
    let mut n = 0;
    loop {
        n += 1;
        let disk = new_disk();
        disk.seed(n);
        disk.fail_at(n, kind, lasting);
        let mut outcome = script(&disk, clock);
        let failed = disk.failed();
        let Some(first) = failed.first() else { break };
        if outcome.opened && kind == ErrorKind::StorageFull && lasting == Lasting::Once {
            let final_calls = [Call::Sync, Call::SyncDir];
            assert_eq!(outcome.failed, final_calls.contains(first), "call {n}: {first:?}");
        }
        if outcome.opened && kind != ErrorKind::StorageFull {
            assert!(outcome.failed, "call {n}: {first:?} failed unnoticed");
        }
        disk.heal();
        if outcome.failed {
            // What could not be taken back may be there again.
            outcome.promises.taken_back.clear();
        }
        for seed in 0..3 {
            let crashed = disk.crash(n * 10 + seed);
            reopen_twice(&outcome.promises, &crashed, clock);
        }
        reopen_twice(&outcome.promises, &disk, clock);
    }
    assert!(n > 60, "the script made only {n} calls");
    n - 1
}

/// After the restart everything goes on.
fn reopen_twice(promises: &Promises, disk: &SimDisk, clock: Clock) {
    let mut promises = promises.clone();
    let (mut opened, _) = promises.verify(disk, clock, SEGMENT_BYTES_MAX);
    let (_, record) = promises.next(noon());
    let more = append_each(&mut opened, [record]);
    promises.keep(more);
    promises.verify(&disk.crash(1), clock, SEGMENT_BYTES_MAX);
    promises.verify(disk, clock, SEGMENT_BYTES_MAX);
}

fn told(rows: &[&str], test: &str, calls: u64) {
    let figure = format!("{calls} calls, each in a run of its own, writes done in part: 0 acknowledged records lost");
    crate::rows::covered(rows, test, figure);
}

#[test]
fn every_call_fails_once_with_eio() {
    let calls = every_call_fails(ErrorKind::Other, Lasting::Once);
    told(&["F7", "F8"], "every_call_fails_once_with_eio", calls);
}

#[test]
fn every_call_fails_from_then_on_with_eio() {
    let calls = every_call_fails(ErrorKind::Other, Lasting::Persistent);
    told(&["F7", "F8"], "every_call_fails_from_then_on_with_eio", calls);
}

#[test]
fn every_call_finds_the_disk_full_once() {
    let calls = every_call_fails(ErrorKind::StorageFull, Lasting::Once);
    told(&["F8", "F11"], "every_call_finds_the_disk_full_once", calls);
}

#[test]
fn every_call_finds_the_disk_full_from_then_on() {
    let calls = every_call_fails(ErrorKind::StorageFull, Lasting::Persistent);
    told(&["F8", "F11"], "every_call_finds_the_disk_full_from_then_on", calls);
}

/// At every degree of fullness: some are refused, facts wait, and room makes everything go on.
#[test]
fn a_full_disk_refuses_keeps_facts_and_recovers() {
    let clock = Clock::simulated(noon());
    for capacity in (0..3_000).step_by(41) {
        let disk = new_disk();
        let mut promises = Promises::default();
        let mut opened = open_at(&disk, clock, SEGMENT_BYTES_MAX).unwrap();
        disk.set_capacity(Some(capacity));
        let mut ledger = Ledger::default();
        let mut facts = Vec::new();
        for step in 0..12 {
            let (fact, record) = promises.next(noon().minus(DAY * (step % 2)));
            opened.journal.append_fact(record).unwrap();
            facts.push(fact);
            let (number, record) = promises.next(noon().minus(DAY * (step % 3)));
            let mut ticket = opened.journal.append(record).unwrap();
            opened.committer.commit_waiting(&mut ledger);
            match ticket.try_recv().unwrap() {
                Ok(_) => {}
                Err(JournalError::Full) => {
                    promises.taken_back.insert(number);
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(capacity > 2_500 || !promises.taken_back.is_empty());
        promises.keep(std::mem::take(&mut ledger.0));
        // A full disk can be opened as well.
        promises.verify(&disk.copy(), clock, SEGMENT_BYTES_MAX);
        promises.verify(&disk.crash(capacity as u64), clock, SEGMENT_BYTES_MAX);
        disk.set_capacity(None);
        while opened.committer.commit_waiting(&mut ledger) {}
        assert_eq!((opened.journal.failure(), opened.journal.waiting_bytes()), (None, 0));
        promises.keep(ledger.0);
        let kept: Vec<_> = promises.committed.values().filter_map(|one| number_of(&one.record)).collect();
        let in_order: Vec<_> = kept.iter().filter(|number| facts.contains(number)).copied().collect();
        assert_eq!(in_order.len(), facts.len(), "no fact is lost");
        promises.verify(&disk, clock, SEGMENT_BYTES_MAX);
        promises.verify(&disk.crash(1), clock, SEGMENT_BYTES_MAX);
    }
}

/// A new segment that found the disk full, in one folder, must not hide the one of the same name
/// that was begun in another folder afterwards, whatever names a power cut brings back.
#[test]
fn a_segment_that_was_taken_back_stays_away() {
    for seed in 0..200 {
        let disk = new_disk();
        let mut opened = open(&disk);
        let room = disk.used() + 500;
        disk.set_capacity(Some(room));
        let mut refused = Vec::new();
        for number in [4, 5, 10] {
            refused.push(opened.journal.append(event_record(noon().minus(DAY), number * 100)).unwrap());
        }
        opened.committer.commit_waiting(&mut Ledger::default());
        let answers: Vec<_> = refused.iter_mut().map(|ticket| ticket.try_recv().unwrap()).collect();
        assert!(answers.iter().all(|answer| matches!(answer, Err(JournalError::Full))), "{answers:?}");
        disk.set_capacity(None);
        let kept = append_each(&mut opened, [record(noon(), 6)]);
        let again = open(&disk.crash(seed));
        assert_eq!(records_of(&again.journal), [(*kept[0].record).clone()], "seed {seed}");
    }
}

/// After a failed sync the page cache shows bytes that the disk may never have had. A restart must
/// not believe them: what it finds is delivered, and has to survive a power cut later.
#[test]
fn a_restart_does_not_believe_what_a_failed_sync_left_behind() {
    for (lost, failing) in [(event_record(noon(), 5), 2), (event_record(noon().minus(DAY), 5), 6)] {
        let disk = new_disk();
        let mut opened = open(&disk);
        let kept = append_each(&mut opened, [event_record(noon(), 4)]);
        disk.fail_at(failing, ErrorKind::Other, Lasting::Once);
        let mut ticket = opened.journal.append(lost).unwrap();
        opened.committer.commit_waiting(&mut Ledger::default());
        assert!(matches!(ticket.try_recv().unwrap(), Err(JournalError::Failed(_))));
        assert_eq!(disk.failed(), [Call::Sync]);
        disk.heal();
        let found = records_of(&open(&disk).journal);
        assert_eq!(found, [(*kept[0].record).clone()]);
        assert_eq!(records_of(&open(&disk.crash(3)).journal), found);
    }
}
