//! Waiting for a change: what wakes whom, how often, and what it costs others.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use postrider::index::{Order, Query, Walk};
use postrider::store::IndexState;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::daemon::Daemon;
use crate::support::world::World;

const POLLS_MAX: usize = 256;

/// A poll that is under way.
fn poll(daemon: &Daemon, after: u64, wait: u64) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.folder.path().join("state/admin.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /v1/changes?after={after}&wait={wait} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream
}

fn answer(mut stream: UnixStream) -> (u16, Value) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn changes(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.admin(&format!("GET /v1/changes?{query}"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn number(view: &Value, field: &str) -> u64 {
    view[field].as_u64().unwrap()
}

/// Waits until nothing changes for a while, and gives the revision.
fn settled(daemon: &Daemon) -> u64 {
    let mut revision = number(&changes(daemon, ""), "revision");
    loop {
        let next = number(&changes(daemon, &format!("after={revision}&wait=1")), "revision");
        if next == revision {
            return revision;
        }
        revision = next;
    }
}

fn webhook(name: &str) -> String {
    json!({"name": name, "url": "http://127.0.0.1:9/", "event_types": ["SOS_REPORT"], "retry": {"count": 0}})
        .to_string()
}

#[test]
fn a_poll_is_answered_when_something_changes() {
    let mut daemon = Daemon::start("");
    settled(&daemon);
    let first = changes(&daemon, "");
    let revision = number(&first, "revision");
    for wrong in ["wait=61", "wait=x", "wait=-1", "after=x", "after=-1", "until=3"] {
        assert_eq!(daemon.admin(&format!("GET /v1/changes?{wrong}"), "").status, 400, "{wrong}");
    }
    assert_eq!(daemon.admin("POST /v1/changes", "").status, 405);
    // Neither another run's revision nor one to come is waited for.
    for after in [0, 5, revision - 1, revision + 1, u64::MAX] {
        assert_eq!(changes(&daemon, &format!("after={after}&wait=60")), first, "{after}");
    }
    let waiting = poll(&daemon, revision, 60);
    assert_eq!(daemon.admin("POST /v1/webhooks", &webhook("w")).status, 201);
    let (status, made) = answer(waiting);
    assert_eq!((status, &made["run"]), (200, &first["run"]));
    assert!(number(&made, "configuration") > revision && number(&made, "revision") >= number(&made, "configuration"));
    assert_eq!((number(&made, "deliveries"), number(&made, "made")), (number(&first, "deliveries"), 0));

    let revision = settled(&daemon);
    let waiting = poll(&daemon, revision, 60);
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
    let (_, posted) = answer(waiting);
    assert!(number(&posted, "deliveries") > revision);
    assert_eq!((number(&posted, "configuration"), number(&posted, "made")), (number(&made, "configuration"), 1));
    // The attempt and its end are changes too; and an event that nobody gets is one.
    daemon.until("it fails", |daemon| {
        (daemon.admin("GET /v1/deliveries?state=failed", "").json()["items"] != json!([])).then_some(())
    });
    let revision = settled(&daemon);
    let waiting = poll(&daemon, revision, 60);
    assert_eq!(daemon.post("/v1/events/ACCOUNT_CHECK", "{}").json()["deliveries"], 0);
    let (_, unwanted) = answer(waiting);
    assert!(number(&unwanted, "deliveries") > revision && number(&unwanted, "made") == 1);
    // So is an operator's change.
    let id = daemon.admin("GET /v1/deliveries", "").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let revision = settled(&daemon);
    let waiting = poll(&daemon, revision, 60);
    assert_eq!(daemon.admin(&format!("POST /v1/deliveries/{id}/resend"), "").status, 202);
    assert!(number(&answer(waiting).1, "deliveries") > revision);

    // Time goes by, and nothing changed: the same again.
    let revision = settled(&daemon);
    let same = changes(&daemon, &format!("after={revision}&wait=1"));
    assert_eq!(number(&same, "revision"), revision);

    assert_eq!(daemon.stop(), 0);
    daemon.start_again();
    let again = changes(&daemon, &format!("after={revision}&wait=60"));
    assert_ne!(again["run"], first["run"]);
    assert!(number(&again, "revision") > revision && number(&again, "made") == 0);
}

#[test]
fn a_burst_of_changes_is_few_answers() {
    let daemon = Daemon::start("");
    daemon.admin("POST /v1/webhooks", &webhook("w"));
    let mut revision = settled(&daemon);
    let began = Instant::now();
    let (mut answers, mut seen) = (0_u32, 0);
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| {
            for _ in 0..400 {
                assert_eq!(daemon.post("/v1/events/SOS_REPORT", "{}").status, 202);
            }
        });
        while !posting.is_finished() || seen < 400 {
            let view = changes(&daemon, &format!("after={revision}&wait=10"));
            (revision, seen) = (number(&view, "revision"), number(&view, "made"));
            answers += 1;
        }
    });
    let took = began.elapsed();
    assert!(answers >= 1 && Duration::from_millis(100) * (answers - 1) <= took, "{answers} answers in {took:?}");
}

#[test]
fn who_waits_takes_no_place_from_others_and_gives_its_own_back() {
    let daemon = Daemon::start("");
    let revision = settled(&daemon);
    for _ in 0..2 {
        let mut waiting: Vec<UnixStream> = (0..POLLS_MAX + 20).map(|_| poll(&daemon, revision, 60)).collect();
        // Which of them come too late is chance, but not how many.
        let mut refused = Vec::new();
        daemon.until("all others wait", |_| {
            let mut still = Vec::new();
            for stream in waiting.drain(..) {
                stream.set_nonblocking(true).unwrap();
                match (&stream).read(&mut [0; 12]) {
                    Ok(_) => refused.push(stream),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => still.push(stream),
                    Err(error) => panic!("{error}"),
                }
            }
            waiting = still;
            (refused.len() >= 20).then_some(())
        });
        assert_eq!((waiting.len(), refused.len()), (POLLS_MAX, 20));
        assert_eq!(daemon.admin(&format!("GET /v1/changes?after={revision}&wait=1"), "").status, 429);
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(daemon.admin("GET /v1/status", "").status, 200);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(number(&changes(&daemon, &format!("after={revision}&wait=0")), "revision"), revision);
        // They go away without an answer.
        drop(waiting);
        daemon.until("their places are free", |daemon| {
            let answer = daemon.admin(&format!("GET /v1/changes?after={revision}&wait=1"), "");
            (answer.status == 200).then_some(())
        });
    }
}

#[test]
fn a_stop_ends_the_waiting_at_once() {
    let mut daemon = Daemon::start("");
    let revision = settled(&daemon);
    let waiting: Vec<UnixStream> = (0..20).map(|_| poll(&daemon, revision, 60)).collect();
    // They were sent before this, and this is answered.
    assert_eq!(daemon.admin("GET /v1/status", "").status, 200);
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for stream in waiting {
        assert_eq!(answer(stream).0, 200);
    }
}

/// What a revision tells of is in the index by then, whoever does not wait for it included.
#[tokio::test(start_paused = true)]
async fn a_change_is_told_when_it_can_be_found() {
    let world = World::new(21);
    world.until_ready().await;
    world.receivers.set("w", |_| (500, Duration::from_millis(300)));
    world.webhook("w", 3, 60, 4).await;
    let mut changed = world.store.watch_changes();
    let mut last = *changed.borrow_and_update();
    assert!(last.revision >= last.first && last.configuration > last.first && last.made == 0);
    for number in 0..20_u64 {
        let id = world.post("r", "{}").await.unwrap().id;
        while last.deliveries == changed.borrow_and_update().deliveries {
            changed.changed().await.unwrap();
        }
        last = *changed.borrow();
        assert_eq!(last.made, number + 1);
        let IndexState::Ready(index) = world.store.index_state() else { panic!("it is ready") };
        let walk = Walk { from: None, order: Order::NewestFirst, limit: 1, budget: 10 };
        let found = index.deliveries(&Query::default(), walk, |_| true).unwrap().rows;
        assert_eq!(found[0].id.event, id);
        // The same for the end of its first attempt.
        while last.deliveries == changed.borrow_and_update().deliveries {
            changed.changed().await.unwrap();
        }
        last = *changed.borrow();
        let found = index.deliveries(&Query::default(), walk, |_| true).unwrap().rows;
        assert_eq!(found[0].attempts.len(), 1);
        assert_eq!(last.configuration, world.store.watch_changes().borrow().configuration);
    }
}

/// Without an index what changed is told when it is durable.
#[tokio::test(start_paused = true)]
async fn changes_are_told_without_an_index_too() {
    let world = World::new(22).crash_without_index(1).await;
    world.receivers.set("w", |_| (200, Duration::ZERO));
    world.webhook("w", 3, 60, 4).await;
    let mut changed = world.store.watch_changes();
    for _ in 0..3 {
        let before = *changed.borrow_and_update();
        world.post("r", "{}").await.unwrap();
        while changed.borrow_and_update().deliveries == before.deliveries {
            tokio::time::timeout(Duration::from_secs(1), changed.changed()).await.unwrap().unwrap();
        }
    }
    assert_eq!(changed.borrow().made, 3);
    assert!(!matches!(world.store.index_state(), IndexState::Ready(_)));
}
