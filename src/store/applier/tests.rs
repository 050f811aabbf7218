//! The applier by itself, stopped where a daemon passes in a moment.

use bytes::Bytes;

use super::*;
use crate::domain::event::Idempotency;
use crate::domain::id::EventId;
use crate::domain::references::References;
use crate::journal::{Options, RealDisk};
use crate::random::Random;
use crate::secrets::Sealer;
use crate::store::{Accepted, Arrival, NewEvent, Store, StoreError, StoreOptions, Workers};

fn open(folder: &std::path::Path) -> (Store, Workers) {
    let options = StoreOptions {
        directory: folder.to_owned(),
        index_directory: folder.join("index"),
        journal: Options::default(),
        index_cache_bytes: 4 << 20,
    };
    let sealer = Sealer::new(&[1; 32], Random::seeded(1));
    Store::open(Arc::new(RealDisk), options, sealer, Clock::system(), Random::Os).unwrap()
}

async fn post(store: &Store, key: &str) -> Result<Accepted, StoreError> {
    let new = NewEvent {
        event_type: "AML_MONITORING".to_owned(),
        content_type: "application/json".to_owned(),
        payload: Bytes::from_static(b"{}"),
        scan_ref: None,
        references: References::default(),
        token: "default".to_owned(),
        idempotency_key: Some(key.to_owned()),
        trace: None,
    };
    store.accept(new).await
}

/// A store that was closed, in which `keys` were used, and whose index is gone.
async fn closed_without_index(folder: &std::path::Path, keys: &[&str]) -> Vec<EventId> {
    let (store, workers) = open(folder);
    let tasks = workers.spawn_tasks();
    let mut events = Vec::new();
    for key in keys {
        events.push(post(&store, key).await.unwrap().id);
    }
    store.journal().close().await;
    for task in tasks {
        task.await.unwrap();
    }
    drop(store);
    std::fs::remove_dir_all(folder.join("index")).unwrap();
    events
}

#[tokio::test]
async fn keys_are_known_before_the_index_is_in_step() {
    for handed_over in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("journal")).unwrap();
        let used = closed_without_index(folder.path(), &["first", "second"]).await;

        let (store, workers) = open(folder.path());
        let (committer, mut applier, publisher) = workers.taken_apart();
        let committing = tokio::spawn(committer.run(publisher));
        applier.handed_over = handed_over;
        let index = Arc::new(applier.open().unwrap());
        assert!(store.shared.slot.knows_keys().is_none(), "nothing was looked at yet");
        applier.look_ahead(&index).await.unwrap();
        assert!(!store.shared.slot.is_ready() && applier.handed_over);

        let third = post(&store, "third").await.unwrap();
        assert!(!third.duplicate);
        // Nobody can tell yet which event has it, and it must not be accepted again.
        let again = post(&store, "second");
        tokio::pin!(again);
        assert!(over_by_now(&mut again).await.is_none());

        drop(index);
        store.shared.slot.set(IndexState::Opening);
        assert!(store.shared.slot.knows_keys().is_none());
        let applying = tokio::spawn(applier.run());
        let again = again.await.unwrap();
        assert!(again.duplicate && again.id == used[1]);
        let (first, once_more) = (post(&store, "first").await.unwrap(), post(&store, "third").await.unwrap());
        assert!(first.duplicate && first.id == used[0]);
        assert!(once_more.duplicate && once_more.id == third.id);

        store.journal().close().await;
        committing.await.unwrap();
        applying.await.unwrap();
    }
}

/// What it came to, if it is over by the time everything else has nothing to do.
async fn over_by_now<T>(work: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        over = work => Some(over),
        () = async { for _ in 0..100 { tokio::task::yield_now().await; } } => None,
    }
}

fn pending(count: usize) -> Vec<Pending> {
    let mut ids = crate::domain::id::EventIds::default();
    let now = Clock::system().now();
    (0..count)
        .map(|_| Pending {
            id: DeliveryId { event: ids.next(now, 0), ordinal: 0 },
            webhook: WebhookId::from_bytes([7; 16]),
            location: crate::domain::event::Location { segment: 0, offset: 0, length: 0 },
            delivery: Delivery::accepted(now),
        })
        .collect()
}

fn came(arrivals: &[Arrival]) -> Vec<DeliveryId> {
    arrivals
        .iter()
        .flat_map(|arrival| match arrival {
            Arrival::Restoring(part) => part.iter().map(|one| one.id).collect(),
            _ => Vec::new(),
        })
        .collect()
}

#[tokio::test]
async fn an_index_that_fails_half_way_hands_nothing_over_twice() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let (_store, workers) = open(folder.path());
    let (_committer, mut applier, _publisher) = workers.taken_apart();
    let pending = pending(HANDED_OVER_AT_ONCE + 10);

    applier.hand_over(pending[..HANDED_OVER_AT_ONCE].to_vec()).await.unwrap();
    assert!(!applier.arrivals.is_restored());
    // Another index has them in other parts.
    for part in pending.chunks(100) {
        applier.hand_over(part.to_vec()).await.unwrap();
    }
    applier.all_handed_over();

    let arrivals = applier.arrivals.take();
    assert!(matches!(arrivals.last(), Some(Arrival::Restored)) && applier.arrivals.is_restored());
    assert_eq!(came(&arrivals), pending.iter().map(|one| one.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_more_is_handed_over_than_the_dispatcher_takes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let (_store, workers) = open(folder.path());
    let (_committer, mut applier, _publisher) = workers.taken_apart();
    let (pending, arrivals) = (pending(1_000), Arc::clone(&applier.arrivals));
    let expected: Vec<_> = pending.iter().map(|one| one.id).collect();
    let handing = async {
        for part in pending.chunks(10) {
            applier.hand_over(part.to_vec()).await.unwrap();
        }
        applier.all_handed_over();
    };
    let taking = async {
        let mut all = Vec::new();
        while !arrivals.is_restored() {
            let taken = arrivals.take();
            assert!(taken.len() <= 20, "{} parts at once", taken.len());
            all.extend(came(&taken));
            tokio::task::yield_now().await;
        }
        all.extend(came(&arrivals.take()));
        all
    };
    assert_eq!(tokio::join!(handing, taking).1, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_is_closed_although_nobody_takes_what_is_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let (_store, workers) = open(folder.path());
    let (_committer, mut applier, publisher) = workers.taken_apart();
    let pending = pending(1_000);
    let handing = async {
        for part in pending.chunks(10) {
            applier.hand_over(part.to_vec()).await?;
        }
        Ok::<(), JournalError>(())
    };
    let closing = async {
        tokio::time::advance(LOOK_UP * 10).await;
        drop(publisher);
    };
    assert!(tokio::join!(handing, closing).0.is_err());
}

#[tokio::test]
async fn a_key_is_noted_for_its_day_whatever_the_clock_says_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index"), 4 << 20).unwrap();
    let now = Clock::system().now();
    let event = crate::domain::event::Event {
        id: EventId::first_at(now),
        event_type: "AML_MONITORING".to_owned(),
        content_type: "application/json".to_owned(),
        scan_ref: None,
        references: References::default(),
        token: "default".to_owned(),
        idempotency: Some(Idempotency { key: "used".to_owned(), digest: [0; 16] }),
        trace: None,
    };
    index.note_key(&event);
    assert!(index.may_know("default", "used", now) && !index.may_know("default", "other", now));
}
