//! The bounds of the HTTP server, on real sockets with short limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use postrider::http::{BodyError, Limits, Listener, Peer, Progress, Question, Server, json, read_body, streamed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    connections_max: 8,
    head_bytes_max: 16 << 10,
    head_time: Duration::from_millis(300),
    body_time: Duration::from_millis(300),
    answers_half_closed: false,
};

async fn answer(_peer: Peer, question: Question, progress: Progress) -> postrider::http::Answer {
    let (parts, body) = question.into_parts();
    match read_body(&parts.headers, body, 1000, LIMITS.body_time).await {
        Ok(body) => {
            progress.body_is_read();
            json(StatusCode::OK, body.to_vec())
        }
        Err(BodyError::TooSlow) => json(StatusCode::REQUEST_TIMEOUT, Vec::new()),
        Err(_) => json(StatusCode::PAYLOAD_TOO_LARGE, Vec::new()),
    }
}

async fn start(limits: Limits) -> (Server, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(limits);
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(Listener::Tcp(listener), answer).await });
    (server, address)
}

async fn all_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // Whatever ends it, what came counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn post(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    all_of(&mut stream).await
}

#[tokio::test]
async fn idle_strangers_lose_their_places_to_those_who_post() {
    let (server, address) = start(Limits { head_time: Duration::from_mins(10), ..LIMITS }).await;
    let mut idle = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some say nothing, some half a head.
        if number % 2 == 0 {
            stream.write_all(b"POST / HTTP/1.1\r\nHos").await.unwrap();
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        assert!(post(address).await.starts_with("HTTP/1.1 200"));
    }
    assert!(server.connections() <= LIMITS.connections_max);
}

#[tokio::test]
async fn half_a_head_and_half_a_body_end_in_time() {
    let (_server, address) = start(LIMITS).await;
    let mut head = TcpStream::connect(address).await.unwrap();
    head.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut body = TcpStream::connect(address).await.unwrap();
    body.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    let both = async { (all_of(&mut head).await, all_of(&mut body).await) };
    let (head, body) = tokio::time::timeout(Duration::from_secs(5), both).await.expect("both end");
    assert!(!head.contains("200"), "{head}");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    crate::rows::covered(&["F29"], "half_a_head_and_half_a_body_end_in_time", "both closed within their time");
}

#[tokio::test]
async fn bodies_are_bounded_however_they_come() {
    let (_server, address) = start(LIMITS).await;
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    for (chunks, status) in [(3, "200"), (30, "413")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = format!("{}{}0\r\n\r\n", chunked, format!("64\r\n{}\r\n", "x".repeat(100)).repeat(chunks));
        let _ = stream.write_all(body.as_bytes()).await;
        let answer = all_of(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let mut large = TcpStream::connect(address).await.unwrap();
    large.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000000\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    large.read_exact(&mut first).await.unwrap();
    assert_eq!(Bytes::copy_from_slice(&first), "HTTP/1.1 413");
}

#[tokio::test]
async fn what_could_be_smuggled_is_refused() {
    let (_server, address) = start(LIMITS).await;
    let shapes = [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2abc\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost : x\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: x\r\n folded: y\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nhi",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/9.9\r\nHost: x\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for shape in shapes {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(shape.as_bytes()).await.unwrap();
        let answer = all_of(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{shape:?}: {answer}");
    }
    assert!(post(address).await.starts_with("HTTP/1.1 200"), "and it serves on");
    crate::rows::covered(&["F31"], "what_could_be_smuggled_is_refused", "10 shapes, 0 accepted, and it serves on");
}

#[tokio::test]
async fn a_stop_lets_an_answer_out_and_takes_nothing_more() {
    let (server, address) = start(LIMITS).await;
    assert!(post(address).await.contains("200"));
    server.stop(Duration::from_secs(1)).await;
    assert_eq!(server.connections(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

/// What lies behind the server is closed after its stop: whoever was accepted at the last moment is answered before, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_after_the_stop() {
    for _ in 0..200 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, closed) = (Server::new(LIMITS), Arc::new(AtomicBool::new(false)));
        let (serving, is_closed, late) = (server.clone(), Arc::clone(&closed), Arc::new(AtomicBool::new(false)));
        let is_late = Arc::clone(&late);
        let answer = move |_: Peer, _: Question, _: Progress| {
            is_late.fetch_or(is_closed.load(Ordering::SeqCst), Ordering::SeqCst);
            async { json(StatusCode::OK, Vec::new()) }
        };
        let loop_ended = tokio::spawn(async move { serving.serve(Listener::Tcp(listener), answer).await });
        let posters: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn(async move {
                    let Ok(mut stream) = TcpStream::connect(address).await else { return };
                    let request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                    let _ = stream.write_all(request).await;
                    all_of(&mut stream).await;
                })
            })
            .collect();
        tokio::task::yield_now().await;
        server.stop(Duration::from_secs(5)).await;
        closed.store(true, Ordering::SeqCst);
        loop_ended.await.unwrap();
        for poster in posters {
            poster.await.unwrap();
        }
        assert!(!late.load(Ordering::SeqCst), "a request was answered after the stop");
    }
}

/// Like `nc -N`: the request, and then nothing more can come.
#[tokio::test]
async fn who_has_closed_his_half_is_answered_where_that_matters() {
    for answers_half_closed in [true, false] {
        let (server, address) = start(Limits { answers_half_closed, ..LIMITS }).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = all_of(&mut stream).await;
        assert!(!answers_half_closed || answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        // Half a request is no request, and is not waited for.
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nhi").await.unwrap();
        half.shutdown().await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), all_of(&mut half)).await.expect("it ends");
        assert!(!answer.contains(" 200 "), "{answer:?}");
        let all_gone = async {
            while server.connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        // The peer sees the end a moment before the place is free.
        tokio::time::timeout(Duration::from_secs(5), all_gone).await.expect("nothing is kept for them");
    }
}

/// What is made while it is sent, by somebody who says that it is whole, or who dies before.
#[tokio::test]
async fn half_of_a_streamed_answer_does_not_look_like_all_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(LIMITS);
    let serving = server.clone();
    let answer = |_: Peer, question: Question, _: Progress| async move {
        let (answer, mut pieces) = streamed("text/plain");
        let whole = question.uri().path() == "/whole";
        tokio::spawn(async move {
            pieces.send(Bytes::from_static(b"a piece")).await.unwrap();
            assert!(whole, "as it was asked to");
            pieces.finish();
        });
        answer
    };
    tokio::spawn(async move { serving.serve(Listener::Tcp(listener), answer).await });
    for (path, whole) in [("/whole", true), ("/half", false)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let answer = all_of(&mut stream).await;
        // The empty chunk says that nothing is missing.
        assert_eq!(answer.ends_with("a piece\r\n0\r\n\r\n"), whole, "{path}: {answer:?}");
    }
}
