//! Those who wait together are made durable together.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use postrider::domain::event::Location;
use postrider::journal::Committer;
use tokio::time::Instant;

use super::*;
use crate::support::sim_disk::Call;

/// A ledger that can be looked at while the committer has it.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Committed>>>);

impl Sink for Seen {
    fn committed(&mut self, records: &[Committed]) {
        self.0.lock().unwrap().extend_from_slice(records);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_appends_need_few_syncs() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    let seen = Seen::default();
    let before = disk.count(Call::Sync);
    let running = tokio::spawn(committer.run(seen.clone()));
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let journal = journal.clone();
        posts.spawn(async move {
            let committed = journal.append(event_record(noon(), number)).unwrap().await.unwrap().unwrap();
            assert_eq!(number_of(&committed.record), Some(number));
            committed.sequence
        });
    }
    let mut sequences = posts.join_all().await;
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), 1_000);
    let syncs = disk.count(Call::Sync) - before;
    assert!(syncs <= 10, "{syncs} syncs");
    assert_eq!(seen.0.lock().unwrap().len(), 1_001);
    drop(journal);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn facts_alone_wait_for_company_but_not_long() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    tokio::spawn(committer.run(Seen::default()));
    let mut committed = journal.watch_committed();
    let before = disk.count(Call::Sync);
    let begun = Instant::now();
    for number in 0..5 {
        journal.append_fact(record(noon(), number * 6)).unwrap();
    }
    committed.changed().await.unwrap();
    assert_eq!(begun.elapsed(), Committer::FACT_WAIT_MAX);
    assert_eq!((journal.last_committed(), disk.count(Call::Sync) - before), (6, 1));
    // Company takes them along at once.
    journal.append_fact(record(noon(), 60)).unwrap();
    let begun = Instant::now();
    journal.append(event_record(noon(), 61)).unwrap().await.unwrap().unwrap();
    assert_eq!((begun.elapsed(), journal.last_committed()), (Duration::ZERO, 8));
}

#[tokio::test(start_paused = true)]
async fn many_facts_wait_no_longer_than_they_need_to_become_many() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    tokio::spawn(committer.run(Seen::default()));
    let before = disk.count(Call::Sync);
    let begun = Instant::now();
    for number in 0..6_000 {
        journal.append_fact(record(noon(), number * 6)).unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut committed = journal.watch_committed();
    committed.wait_for(|sequence| *sequence > 3_000).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let syncs = disk.count(Call::Sync) - before;
    assert!((3..=12).contains(&syncs), "{syncs} syncs");
    committed.wait_for(|sequence| *sequence == 6_001).await.unwrap();
    assert!(begun.elapsed() <= Committer::FACT_WAIT_MAX);
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn facts_that_gather_wake_nobody() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let mut running = Box::pin(committer.run(Seen::default()));
    let mut step = || assert!(running.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    step();
    journal.append_fact(record(noon(), 0)).unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "the first begins a batch");
    step();
    for number in 1..100 {
        journal.append_fact(record(noon(), number * 6)).unwrap();
    }
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    // Somebody who waits does.
    let ticket = journal.append(event_record(noon(), 601)).unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    step();
    ticket.await.unwrap().unwrap();
    assert_eq!(journal.last_committed(), 102);
}

#[tokio::test(start_paused = true)]
async fn a_barrier_waits_for_what_was_queued_before_it() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    assert_eq!(journal.last_committed(), 0);
    let running = tokio::spawn(committer.run(Seen::default()));
    let begun = Instant::now();
    assert_eq!(journal.barrier().await.unwrap(), 0, "an empty journal has nothing to wait for");
    for number in 0..5 {
        journal.append_fact(record(noon(), number * 6)).unwrap();
    }
    assert_eq!(journal.barrier().await.unwrap(), 6);
    assert_eq!(journal.barrier().await.unwrap(), journal.last_committed());
    assert_eq!((begun.elapsed(), journal.waiting_bytes()), (Duration::ZERO, 0));
    drop(journal);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_barrier_knows_nothing_of_sequences_that_were_skipped() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let committed = append_each(&mut opened, [event_record(noon(), 4)]);
    let path = segment_path(&opened, 1);
    disk.set_contents(&path, &[disk.contents(&path), vec![0; 4096]].concat());
    let Opened { journal, committer, .. } = open(&disk);
    let running = tokio::spawn(committer.run(Seen::default()));
    assert_eq!(journal.last_committed(), committed[0].sequence);
    assert_eq!(journal.barrier().await.unwrap(), committed[0].sequence);
    drop(journal);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn facts_that_found_the_disk_full_are_tried_again_without_being_asked() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    let running = tokio::spawn(committer.run(Seen::default()));
    disk.set_capacity(Some(0));
    for number in 0..5 {
        journal.append_fact(record(noon(), number * 6)).unwrap();
    }
    let refused = journal.append(event_record(noon(), 100)).unwrap().await.unwrap();
    assert!(matches!(refused, Err(JournalError::Full)));
    assert_eq!(journal.barrier().await.unwrap(), 0, "nothing is durable yet, and who reads is not refused");
    assert!(journal.facts_wait());
    assert!(journal.waiting_bytes() > 0);
    disk.set_capacity(None);
    let begun = Instant::now();
    let mut committed = journal.watch_committed();
    committed.changed().await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(2));
    assert_eq!((journal.last_committed(), journal.waiting_bytes()), (6, 0));
    assert_eq!(journal.barrier().await.unwrap(), 6);
    assert!(!journal.facts_wait());
    drop((journal, committed));
    running.await.unwrap();
    let expected: Vec<Record> = (0..5).map(|number| record(noon(), number * 6)).collect();
    assert_eq!(records_of(&open(&disk).journal), expected);
}

#[tokio::test(start_paused = true)]
async fn too_much_that_waits_is_refused_but_not_facts() {
    let disk = new_disk();
    let mut opened = open(&disk);
    let Record::Event { event, targets, skipped, .. } = event_record(noon(), 4) else { panic!("an event") };
    let large = Record::Event { event, targets, skipped, payload: vec![0; 16 << 20].into() };
    let mut tickets = Vec::new();
    let busy = loop {
        match opened.journal.append(large.clone()) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, JournalError::Busy(waiting) if waiting > Journal::WAITING_BYTES_MAX));
    assert_eq!(tickets.len(), 3);
    opened.journal.append_fact(record(noon(), 6)).unwrap();
    while opened.committer.commit_waiting(&mut Ledger::default()) {}
    assert!(tickets.iter_mut().all(|ticket| ticket.try_recv().unwrap().is_ok()));
    assert_eq!(opened.journal.waiting_bytes(), 0);
    assert!(opened.journal.append(large).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_whoever_waits_for_it() {
    let disk = new_disk();
    let Opened { journal, committer, .. } = open(&disk);
    tokio::spawn(committer.run(Seen::default()));
    let failed = tokio::spawn({
        let journal = journal.clone();
        async move { journal.failed().await }
    });
    disk.fail_at(1, std::io::ErrorKind::Other, crate::support::sim_disk::Lasting::Once);
    let ticket = journal.append(event_record(noon(), 4)).unwrap();
    assert_eq!(Some(failed.await.unwrap()), journal.failure());
    assert_eq!(Some(journal.failed().await), journal.failure(), "also afterwards");
    assert!(matches!(ticket.await.unwrap(), Err(JournalError::Failed(_))));
    assert!(matches!(journal.append(event_record(noon(), 5)), Err(JournalError::Failed(_))));
    assert!(matches!(journal.append_fact(record(noon(), 6)), Err(JournalError::Failed(_))));
    assert!(matches!(journal.barrier().await, Err(JournalError::Failed(_))));
}

/// A replay while the committer is at work sees whole, committed records and nothing else.
#[test]
fn a_replay_beside_the_committer_sees_only_what_is_committed() {
    let disk = new_disk();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 2_000).unwrap();
    let journal = opened.journal.clone();
    let reader = std::thread::spawn(move || {
        let mut length = 0;
        while length < 401 {
            let committed = journal.last_committed();
            let found = replay(&journal, 0, u64::MAX);
            assert!(found.len() as u64 >= committed, "what is committed is there");
            assert!(found.len() >= length);
            assert_eq!(journal.quarantined(), 0);
            length = found.len();
        }
    });
    for number in 0..400 {
        append_each(&mut opened, [record(noon(), number)]);
    }
    reader.join().unwrap();
}

#[tokio::test]
async fn those_who_read_what_lies_together_take_turns() {
    let disk = new_disk();
    let Opened { journal, .. } = open(&disk);
    let at = |offset| Location { segment: 1, offset, length: 1_000 };
    let turn = journal.turn(at(100)).await;
    let mut beside = std::pin::pin!(journal.turn(at(60_000)));
    tokio::select! {
        biased;
        _ = &mut beside => panic!("both at once"),
        _ = journal.turn(at(200_000)) => {}
    }
    drop(turn);
    drop(beside.await);
}
