//! Rot and unreadable places, anywhere: what is damaged is noticed, costs itself alone, and is never taken for
//! something else. Reads that fail are tried at every call of a start and of what follows it.

use std::io::ErrorKind;

use postrider::random::Random;

use super::*;
use crate::support::sim_disk::{Call, Lasting, below};

/// Forty records over several segments, and the disk they lie on.
fn stored() -> (SimDisk, Vec<PathBuf>, Vec<Committed>) {
    let disk = new_disk();
    let mut opened = open_at(&disk, Clock::simulated(noon()), 1_200).unwrap();
    let committed = append_each(&mut opened, (0..40).map(|number| record(noon(), number)));
    let paths: Vec<_> = opened.journal.segments().into_keys().map(|name| segment_path(&opened, name)).collect();
    assert!(paths.len() > 4);
    (disk, paths, committed)
}

/// How many flips are tried, and from which seed.
fn asked(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs the tests to say")]
    let asked = std::env::var(name);
    asked.ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most() {
    let (whole, paths, committed) = stored();
    let seed = asked("SEED", 9);
    let chance = Random::seeded(seed);
    let (flips, mut lost_records, mut snapshots) = (asked("ROUNDS_FLIPS", 1_000), 0, 0);
    for round in 0..flips {
        let disk = whole.copy();
        let path = &paths[below(&chance, paths.len())];
        let mut bytes = disk.contents(path);
        let bit = below(&chance, bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.set_contents(path, &bytes);
        let what = format!("SEED={seed} flip {round}: bit {bit} of {}", path.display());
        let opened = open_at(&disk, Clock::simulated(noon()), 1_200).unwrap();
        let found = replay(&opened.journal, 0, u64::MAX);
        let noticed = opened.report.cut_bytes > 0 || opened.journal.quarantined() > 0;
        assert!(noticed, "{what}: not noticed");
        let mut lost = 0;
        for one in &committed {
            match opened.journal.read(one.location) {
                Ok(record) => assert_eq!(record, one.record, "{what}: another record"),
                Err(_) => lost += 1,
            }
            let kept = found.iter().find(|kept| kept.sequence == one.sequence);
            assert!(kept.is_none_or(|kept| kept.record == one.record), "{what}: another record in the replay");
        }
        let replayed = found.iter().filter(|one| !is_snapshot(&one.record)).count();
        assert_eq!(replayed, committed.len() - lost, "{what}: the replay and the reads disagree");
        assert!(lost <= 1, "{what}: {lost} records lost");
        lost_records += lost;
        snapshots += usize::from(lost == 0);
    }
    assert!(lost_records > 0 && snapshots > 0, "both kinds of places were hit");
    crate::rows::covered(
        &["F9"],
        "a_flipped_bit_anywhere_costs_one_record_at_most",
        format!(
            "{flips} bits flipped in the journal: {flips} noticed, {lost_records} cost their own record, {snapshots} \
             nothing, 0 wrong bodies"
        ),
    );
}

/// The start, a replay and reads of everything, and a write, with each call failing in turn.
fn look_at_all(disk: &SimDisk, committed: &[Committed]) -> Result<(), JournalError> {
    let mut opened = open_at(disk, Clock::simulated(noon()), 1_200)?;
    let mut found = Vec::new();
    opened.journal.replay(0, u64::MAX, |one| {
        found.push(one);
        Ok::<(), JournalError>(())
    })?;
    found.retain(|one| !is_snapshot(&one.record));
    // An unreadable place is no damage: to go on without it would be to lose it.
    assert_eq!(found.len(), committed.len(), "a read error was taken for the end, or for damage");
    // From the end, so that none comes along with the one before it.
    for one in committed.iter().rev() {
        assert_eq!(opened.journal.read(one.location)?, one.record);
    }
    let mut ticket = opened.journal.append(record(noon(), 1_000))?;
    opened.committer.commit_waiting(&mut Ledger::default());
    ticket.try_recv().unwrap().map(drop)
}

#[test]
fn every_call_of_a_start_fails_and_nothing_is_taken_for_damage() {
    let (whole, _, committed) = stored();
    let mut injected = BTreeMap::<String, u32>::new();
    for lasting in [Lasting::Once, Lasting::Persistent] {
        let mut n = 0;
        loop {
            n += 1;
            let disk = whole.copy();
            disk.seed(n);
            disk.fail_at(n, ErrorKind::Other, lasting);
            let outcome = look_at_all(&disk, &committed);
            let Some(first) = disk.failed().first().copied() else {
                outcome.unwrap();
                break;
            };
            *injected.entry(format!("{first:?}")).or_default() += 1;
            // What went unnoticed could not be repaired.
            assert!(outcome.is_err(), "call {n}, {first:?}, failed and nobody noticed");
            disk.heal();
            let again = open_at(&disk.crash(n), Clock::simulated(noon()), 1_200).unwrap();
            assert_eq!(again.journal.quarantined(), 0, "call {n}: {first:?} was taken for damage");
            let kept = replay(&again.journal, 0, u64::MAX);
            for one in &committed {
                assert!(kept.iter().any(|kept| kept.sequence == one.sequence && kept.record == one.record));
            }
        }
        assert!(n > 60, "only {n} calls");
    }
    assert!(injected.contains_key(&format!("{:?}", Call::Read)));
    let total: u32 = injected.values().sum();
    crate::rows::covered(
        &["F8", "F9"],
        "every_call_of_a_start_fails_and_nothing_is_taken_for_damage",
        format!("{total} calls of a start, replay, read and write failed one by one ({injected:?}): 0 records lost"),
    );
}
