//! Power cuts at random calls, with whatever was not synced kept, lost or torn.

use postrider::random::Random;

use super::*;
use crate::support::sim_disk::below;

/// The seeds that are tried. `SEEDS=100000 cargo test crash` tries more, `SEED=7` only that one.
fn seeds() -> std::ops::Range<u64> {
    let asked = |name| {
        #[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs the tests to say")]
        let asked = std::env::var(name);
        asked.ok().and_then(|number| number.parse().ok())
    };
    asked("SEED").map_or_else(|| 0..asked("SEEDS").unwrap_or(2_000), |seed| seed..seed + 1)
}

/// Tells which seed it was when a test panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "without it nobody could try again")]
            {
                eprintln!("the failing seed is {}", self.0);
            }
        }
    }
}

struct Run {
    disk: SimDisk,
    clock: Clock,
    chance: Random,
    promises: Promises,
    segment_bytes_max: u64,
}

impl Run {
    fn below(&self, bound: usize) -> usize {
        below(&self.chance, bound)
    }

    fn seed(&self) -> u64 {
        u64::try_from(self.chance.bits() >> 64).unwrap()
    }

    /// Batches until the power goes, or it is enough.
    async fn work(&mut self, mut opened: Opened) {
        let mut ledger = Ledger::default();
        for _ in 0..=self.below(8) {
            match self.below(8) {
                0 => tokio::time::advance(DAY).await,
                1 => self.disk.set_capacity(Some(self.disk.used() + self.below(1_200))),
                2 => self.disk.set_capacity(None),
                _ => {}
            }
            let mut tickets = Vec::new();
            for _ in 0..=self.below(5) {
                let at = self.clock.now().minus(DAY * u32::try_from(self.below(3)).unwrap() / 2);
                let (number, record) = self.promises.next(at);
                if self.below(3) == 0 {
                    // Refused only when the power is gone, and then never promised.
                    let _ = opened.journal.append_fact(record);
                } else if let Ok(ticket) = opened.journal.append(record) {
                    tickets.push((number, ticket));
                }
            }
            opened.committer.commit_waiting(&mut ledger);
            for (number, mut ticket) in tickets {
                match ticket.try_recv().unwrap() {
                    Ok(committed) => assert!(ledger.0.iter().any(|one| one.sequence == committed.sequence)),
                    Err(JournalError::Full) if opened.journal.failure().is_none() => {
                        self.promises.taken_back.insert(number);
                    }
                    Err(_) => {}
                }
            }
        }
        self.promises.keep(ledger.0);
    }

    /// The power comes back, perhaps to be lost again during the start.
    fn reopen(&mut self) -> Opened {
        self.disk = self.disk.crash(self.seed());
        while self.below(3) == 0 {
            let n = 1 + self.below(25) as u64;
            self.disk.power_off_at(n);
            if open_at(&self.disk, self.clock, self.segment_bytes_max).is_ok() {
                // Everything that was found counts from now on, so it must survive this as well.
                self.disk.heal();
                let (_, found) = self.promises.verify(&self.disk, self.clock, self.segment_bytes_max);
                self.promises.keep(found);
            }
            self.disk = self.disk.crash(self.seed());
        }
        let (opened, found) = self.promises.verify(&self.disk, self.clock, self.segment_bytes_max);
        self.promises.keep(found);
        opened
    }
}

async fn survive(seed: u64) {
    let chance = Random::seeded(seed);
    let segment_bytes_max = [300, 1_500, 1 << 20][below(&chance, 3)];
    let clock = Clock::simulated(noon());
    let mut run = Run { disk: new_disk(), clock, chance, promises: Promises::default(), segment_bytes_max };
    run.disk.seed(seed);
    let first = 1 + run.below(120) as u64;
    run.disk.power_off_at(first);
    if let Ok(opened) = open_at(&run.disk, clock, segment_bytes_max) {
        run.work(opened).await;
    }
    for _ in 0..2 {
        let opened = run.reopen();
        let n = 1 + run.below(80) as u64;
        run.disk.power_off_at(n);
        run.work(opened).await;
    }
    let mut opened = run.reopen();
    let (_, record) = run.promises.next(run.clock.now());
    let more = append_each(&mut opened, [record]);
    run.promises.keep(more);
    // A kill loses nothing at all, and a second power cut nothing of what was told.
    run.promises.verify(&run.disk.crash(seed), clock, segment_bytes_max);
    run.promises.verify(&run.disk, clock, segment_bytes_max);
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_to_power_cuts() {
    for seed in seeds() {
        let _told = Seed(seed);
        survive(seed).await;
    }
    crate::rows::covered(
        &["F3", "F4"],
        "nothing_acknowledged_is_lost_to_power_cuts",
        format!("{} seeds of at least 4 power cuts each, writes lost, reordered and torn: 0 lost", seeds().count()),
    );
}
