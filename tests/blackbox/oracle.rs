//! Says after a fault whether the promises held, from the two ledgers alone.
//!
//! I1 every acknowledged event reaches every webhook; I2 nothing is delivered that was not posted, byte for byte;
//! I3 duplicates stay within what was in flight; I4 one id for an event on all attempts, signatures valid.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::ledger::{Ack, Ledger};
use crate::receiver::{Receipt, Receiver};

/// `delivery.max_in_flight` of the suite's configuration.
const IN_FLIGHT_MAX: u64 = 128;
/// An outcome may ride on the next group commit, and that on a slow disk; older receipts must be durable.
const RECENT: Duration = Duration::from_millis(200);

/// Longer than any retry interval used here: a delivery that has not come by then will not come.
const STALLED: Duration = Duration::from_secs(20);

/// What the receiver's books said at the moment of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtFault {
    duplicates: u64,
    recent: u64,
}

impl AtFault {
    /// Call right after the daemon is dead.
    pub(crate) fn note(receiver: &Receiver) -> Self {
        let since = Instant::now().checked_sub(RECENT).unwrap_or_else(Instant::now);
        Self { duplicates: receiver.duplicates(), recent: receiver.received_since(since) }
    }

    /// I3. Returns the duplicates this fault caused.
    pub(crate) fn check_duplicates(self, receiver: &Receiver) -> anyhow::Result<u64> {
        let caused = receiver.duplicates() - self.duplicates;
        let bound = IN_FLIGHT_MAX + self.recent;
        anyhow::ensure!(caused <= bound, "I3: {caused} duplicates after the fault; at most {bound} are explained");
        Ok(caused)
    }
}

/// Waits until every acknowledged event has arrived at every path and nothing is pending, then checks I1, I2 and I4.
pub(crate) async fn settle(
    daemon: &mut Daemon,
    ledger: &Ledger,
    receiver: &Receiver,
    paths: &[&str],
    within: Duration,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let acked = ledger.acked();
    wait_delivered(daemon, &acked, receiver, paths, began + within).await?;
    daemon.wait_for(within, "without pending deliveries", |status| status["pending"] == 0).await?;
    check_receipts(&acked, ledger, &receiver.receipts())?;
    Ok(began.elapsed())
}

/// I1.
async fn wait_delivered(
    daemon: &mut Daemon,
    acked: &HashMap<String, Ack>,
    receiver: &Receiver,
    paths: &[&str],
    deadline: Instant,
) -> anyhow::Result<()> {
    let (mut open, mut progress_at) = (usize::MAX, Instant::now());
    for path in paths {
        loop {
            let taken = receiver.taken(path);
            let missing: Vec<_> = acked.iter().filter(|(id, _)| !taken.contains_key(*id)).collect();
            if missing.is_empty() {
                break;
            }
            if let Some(status) = daemon.exited()? {
                anyhow::bail!("the daemon ended by itself with {status}, {} deliveries to {path} open", missing.len());
            }
            if missing.len() != open {
                (open, progress_at) = (missing.len(), Instant::now());
            }
            anyhow::ensure!(
                Instant::now() < deadline && progress_at.elapsed() < STALLED,
                "I1: {} of {} acknowledged events never reached {path}, e.g. {:?}",
                missing.len(),
                acked.len(),
                missing.first()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// I2 and I4, over everything received so far.
fn check_receipts(acked: &HashMap<String, Ack>, ledger: &Ledger, receipts: &[Receipt]) -> anyhow::Result<()> {
    let mut ids: HashMap<&str, &str> = HashMap::new();
    for receipt in receipts {
        let Some(sent) = ledger.sent_sha(&receipt.reference) else {
            anyhow::bail!("I2: delivered but never posted: {receipt:?}");
        };
        anyhow::ensure!(sent == receipt.body, "I2: other bytes than were posted: {receipt:?}");
        if let Some(ack) = acked.get(&receipt.event_id) {
            anyhow::ensure!(ack.reference == receipt.reference, "I2: the body of another event: {receipt:?}");
        }
        let first = ids.entry(&receipt.reference).or_insert(&receipt.event_id);
        anyhow::ensure!(*first == receipt.event_id, "I4: two ids, one of them {first}, for one event: {receipt:?}");
        anyhow::ensure!(receipt.body_signature_ok, "I4: Idenfy-Signature does not fit: {receipt:?}");
        anyhow::ensure!(receipt.standard_signature_ok, "I4: webhook-signature does not fit: {receipt:?}");
        anyhow::ensure!(receipt.attempt.is_some_and(|number| number >= 1), "I4: no Postrider-Attempt: {receipt:?}");
    }
    Ok(())
}
