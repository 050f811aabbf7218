//! A receiver that does as it is told: it answers every request with the bytes a test gives it,
//! and remembers what it got.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The request line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    more: Condvar,
}

/// Listens on loopback until the test ends.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// What is answered: the whole answer, or `None` to hang up without one.
pub(crate) type Script = Box<dyn Fn(&Received) -> Option<Vec<u8>> + Send + Sync>;

impl Receiver {
    /// One exchange a connection, so that a script sees every connection.
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (script, keep): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, keep) = (Arc::clone(&script), Arc::clone(&keep));
                std::thread::spawn(move || serve(stream, &script, &keep));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came so far, once it is so many; a test that waits in vain fails.
    pub(crate) fn received(&self, count: usize) -> Vec<Received> {
        let requests = self.seen.requests.lock().unwrap();
        let waited = self.seen.more.wait_timeout_while(requests, Duration::from_secs(20), |all| all.len() < count);
        let (requests, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{} requests came instead of {count}", requests.len());
        requests.clone()
    }
}

fn serve(stream: TcpStream, script: &Script, seen: &Seen) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let request = Received { head, body };
    let answer = script(&request);
    seen.requests.lock().unwrap().push(request);
    seen.more.notify_all();
    if let Some(answer) = answer {
        let _ = (&stream).write_all(&answer);
    }
}

/// An answer with this status line, these header lines and this body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    format!("{text}\r\n{body}").into_bytes()
}
