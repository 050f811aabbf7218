//! A receiver over real sockets: what it lets in, how it misbehaves, and that nothing kills it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver as Heard, channel};
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(react: React) -> (Receiver, Heard<Told>) {
    let (tell, told) = channel();
    let setup = Setup {
        address: ([127, 0, 0, 1], 0).into(),
        key: Some(Secret::new("Jefe".to_owned())),
        clock: Clock::system(),
        random: Random::seeded(1),
    };
    let receiver = Receiver::start(setup, react, Arc::new(move |one| drop(tell.send(one)))).unwrap();
    (receiver, told)
}

fn always(reaction: Reaction) -> React {
    Box::new(move |_, _| reaction)
}

fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect(receiver.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the connection is closed.
fn rest(mut stream: &TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn exchange(receiver: &Receiver, request: &str) -> io::Result<String> {
    let stream = connect(receiver);
    (&stream).write_all(request.as_bytes()).unwrap();
    rest(&stream)
}

/// The next request that was told, past everything else.
fn next_seen(told: &Heard<Told>) -> Seen {
    loop {
        if let Told::Request(seen, _) = told.recv_timeout(PATIENCE).unwrap() {
            return *seen;
        }
    }
}

const PLAIN: &str = "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_is_told_as_it_came() {
    let (receiver, told) = start(always(Reaction::answer(204)));
    let body = "what do ya want for nothing?";
    let signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let answer = exchange(
        &receiver,
        &format!(
            "POST /aml?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdenfy-Event-Type: AML\r\nwebhook-id: evt_1\r\n\
             webhook-timestamp: 1\r\nwebhook-signature: v1,AAAA\r\nPostrider-Delivery: dlv_1\r\nPostrider-Attempt: 3\r\n\
             Postrider-Test: true\r\nidenfy-signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.unwrap().starts_with("HTTP/1.1 204 "));
    let seen = next_seen(&told);
    assert_eq!((seen.number, seen.method.as_str(), seen.path.as_str()), (0, "POST", "/aml?x=1"));
    assert_eq!((seen.event_type.as_deref(), seen.webhook_id.as_deref()), (Some("AML"), Some("evt_1")));
    assert_eq!((seen.delivery.as_deref(), seen.attempt.as_deref(), seen.test), (Some("dlv_1"), Some("3"), true));
    assert_eq!((seen.body_signature, seen.standard_signature), (Verdict::Good, Verdict::Wrong));
    assert_eq!(seen.body, body.as_bytes());
    assert!(matches!(told.recv_timeout(PATIENCE).unwrap(), Told::Answered { heard: true }));
}

#[test]
fn a_connection_carries_one_request_after_the_other() {
    let (receiver, told) =
        start(Box::new(|number, _| Reaction::answer([200, 503, 404][usize::try_from(number).unwrap()])));
    let large = "x".repeat(100_000);
    // All at once: the next is only let in when the one before is answered.
    let requests = format!(
        "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{large}\
         POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab{}",
        PLAIN.replace("/a?b", "/3")
    );
    let answers = exchange(&receiver, &requests).unwrap();
    let places: Vec<usize> = ["HTTP/1.1 200 ", "HTTP/1.1 503 ", "HTTP/1.1 404 "]
        .iter()
        .map(|status| answers.find(status).unwrap())
        .collect();
    assert!(places.is_sorted(), "{answers}");
    let seen: Vec<(String, usize)> =
        (0..3).map(|_| next_seen(&told)).map(|seen| (seen.path, seen.body.len())).collect();
    assert_eq!(seen, [("/1".to_owned(), 100_000), ("/2".to_owned(), 2), ("/3".to_owned(), 0)]);
}

#[test]
fn silly_requests_are_refused_and_kill_nothing() {
    let (receiver, told) = start(always(Reaction::answer(200)));
    for (line, status) in [
        ("Content-Length: 9999999999999", 413),
        ("Content-Length: 9223372036854775807", 413),
        ("Content-Length: 18446744073709551615", 413),
        ("Transfer-Encoding: chunked", 411),
        ("Content-Length: 3\r\nContent-Length: 4", 400),
    ] {
        let answer = exchange(&receiver, &format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\nabc")).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(matches!(told.recv_timeout(PATIENCE).unwrap(), Told::Refused(found, _) if found == status), "{line}");
    }
    assert!(exchange(&receiver, "GET / HTTP/2.0\r\n\r\n").unwrap().starts_with("HTTP/1.1 505 "));
    assert!(
        exchange(&receiver, &format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(20_000)))
            .unwrap()
            .starts_with("HTTP/1.1 431 ")
    );
    // A refusal comes after the answers that are due before it.
    let both = exchange(&receiver, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /\r\n\r\n").unwrap();
    assert!(both.starts_with("HTTP/1.1 200 ") && both.contains("HTTP/1.1 400 "), "{both}");
    assert!(exchange(&receiver, PLAIN).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let (receiver, told) = start(always(Reaction::answer(200)));
    for length in [900, 90_000] {
        let stream = connect(&receiver);
        (&stream)
            .write_all(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabc").as_bytes())
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&stream).unwrap_or_default(), "", "{length}");
    }
    assert!(exchange(&receiver, PLAIN).unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(next_seen(&told).number, 0);
}

#[test]
fn more_connections_than_there_are_places_do_no_harm() {
    let (receiver, _told) = start(always(Reaction::answer(200)));
    let idle: Vec<TcpStream> = (0..200).map(|_| connect(&receiver)).collect();
    drop(idle);
    // Places come free as soon as the others are seen to have left; until then a connection is closed without an answer.
    let answered = (0..2_000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(5));
        let stream = connect(&receiver);
        let sent = (&stream).write_all(PLAIN.as_bytes());
        sent.and_then(|()| rest(&stream)).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
    assert!(answered);
}

#[test]
fn a_reset_is_one() {
    let (receiver, told) = start(always(Reaction { delay: Duration::ZERO, act: Act::Reset }));
    let error = exchange(&receiver, &PLAIN.replace("Connection: close\r\n", "")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(next_seen(&told).path, "/a?b");
}

#[test]
fn answers_drip_and_do_not_end_until_somebody_has_had_enough() {
    let drip = Act::Drip { status: 503, retry_after: Some(2) };
    let (receiver, _told) = start(Box::new(move |number, _| Reaction {
        delay: Duration::ZERO,
        act: if number == 0 { drip } else { Act::Endless { status: 200 } },
    }));
    let mut stream = connect(&receiver);
    (&stream).write_all(PLAIN.as_bytes()).unwrap();
    let mut buffer = [0; 64];
    let first: usize = (0..3).map(|_| stream.read(&mut buffer).unwrap()).max().unwrap();
    assert!(first <= 3, "{first} bytes at once");
    let mut endless = connect(&receiver);
    (&endless).write_all(PLAIN.as_bytes()).unwrap();
    let mut much = vec![0; 100_000];
    endless.read_exact(&mut much).unwrap();
    assert!(much.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // Both are under way, and neither holds up the end.
    drop(receiver);
    let left = |stream: &mut TcpStream| io::copy(stream, &mut io::sink());
    assert!(left(&mut stream).unwrap_or(0) < 200);
    let _ = left(&mut endless);
}

#[test]
fn the_end_waits_for_nobody_and_closes_the_port() {
    let (receiver, told) = start(always(Reaction::answer(200).after(Duration::from_secs(50))));
    let address = receiver.address();
    let waiting = connect(&receiver);
    (&waiting).write_all(PLAIN.as_bytes()).unwrap();
    assert_eq!(next_seen(&told).number, 0);
    let _idle = connect(&receiver);
    drop(receiver);
    assert_eq!(rest(&waiting).unwrap_or_default(), "");
    assert!(TcpStream::connect(address).is_err());
}

/// Each stays open, so that no thread of the library becomes free by itself.
#[test]
fn connections_that_come_at_once_are_all_answered() {
    for _ in 0..20 {
        let (receiver, _told) = start(always(Reaction::answer(200)));
        let open: Vec<_> = (0..40).map(|_| connect(&receiver)).collect();
        for stream in &open {
            (&*stream).write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        for stream in &open {
            let mut first = [0; 12];
            (&*stream).read_exact(&mut first).expect("an answer, with all others open");
            assert_eq!(&first, b"HTTP/1.1 200");
        }
    }
}
