//! Whole connections to the HTTP server: whatever comes, it ends, the server lives, and nothing is answered that was not asked.
#![no_main]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use postrider::http::{Answer, Limits, Listener, Peer, Progress, Question, Server, json, read_body};

static ASKED: AtomicUsize = AtomicUsize::new(0);

const LIMITS: Limits = Limits {
    connections_max: 8,
    head_bytes_max: 16 << 10,
    head_time: Duration::from_secs(5),
    body_time: Duration::from_secs(5),
    answers_half_closed: true,
};

async fn answer(_: Peer, question: Question, progress: Progress) -> Answer {
    ASKED.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = question.into_parts();
    match read_body(&parts.headers, body, 1000, LIMITS.body_time).await {
        Ok(body) => {
            assert!(body.len() <= 1000);
            progress.body_is_read();
            json(StatusCode::OK, Vec::new())
        }
        Err(_) => json(StatusCode::BAD_REQUEST, Vec::new()),
    }
}

/// Starts the server once.
fn socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("postrider-fuzz-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let at = path.clone();
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::bind(&at).unwrap();
                ready.send(()).unwrap();
                Server::new(LIMITS).serve(Listener::Unix(listener), answer).await;
            });
        });
        started.recv().unwrap();
        path
    })
}

fuzz_target!(|input: &[u8]| {
    let before = ASKED.load(Ordering::SeqCst);
    let mut stream = UnixStream::connect(socket()).expect("the server lives");
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // It may have closed before all is written.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answers = Vec::new();
    // A reset is an end as well.
    if let Err(error) = stream.read_to_end(&mut answers) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection does not end");
    }
    let text = String::from_utf8_lossy(&answers);
    assert!(answers.is_empty() || text.starts_with("HTTP/1."), "an answer that is none");
    let fine = text.matches("HTTP/1.1 200 OK\r\n").count() + text.matches("HTTP/1.0 200 OK\r\n").count();
    let asked = ASKED.load(Ordering::SeqCst) - before;
    assert!(fine <= asked, "{fine} answers to {asked} requests");
    // A request has a version in its first line: more requests than versions were made up.
    let versions = input.windows(7).filter(|window| *window == b"HTTP/1.").count();
    assert!(asked <= versions, "{asked} requests out of {versions}");
});
