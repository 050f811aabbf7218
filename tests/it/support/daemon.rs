//! The program itself, started on a folder of its own, and raw HTTP to talk to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A running daemon; ends with this.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) ingest: SocketAddr,
    pub(crate) token: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Daemon {
    /// Starts on an empty folder; `config` is added to what a test needs.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[egress]\nallow = [\"127.0.0.0/8\"]\n[retention]\nmin_free_bytes = 0\nmin_free_percent = 0\n{config}"
        );
        let text =
            if config.contains("[ingest]") { text } else { format!("{text}\n[ingest]\nlisten = \"127.0.0.1:0\"\n") };
        std::fs::write(folder.path().join("postrider.toml"), text).unwrap();
        let (child, ingest) = spawn(folder.path().to_owned());
        let token = std::fs::read_to_string(folder.path().join("state/ingest.token")).unwrap().trim().to_owned();
        Self { child, folder, ingest, token }
    }

    /// One request with these header lines.
    pub(crate) fn request(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut raw = format!("{line} HTTP/1.1\r\n").into_bytes();
        for header in headers {
            raw.extend_from_slice(header.as_bytes());
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"\r\n");
        raw.extend_from_slice(body);
        self.raw(&raw)
    }

    /// Exactly these bytes, and the first answer to them.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.ingest).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A refusal may come before everything is sent.
        let _ = stream.write_all(bytes);
        read_answer(stream)
    }

    /// A post as applications make it.
    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, &["Content-Type: application/json"], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        let authorization = format!("Authorization: Bearer {}", self.token);
        let length = format!("Content-Length: {}", body.len());
        let mut all = vec!["Host: localhost", &authorization, &length];
        all.extend_from_slice(headers);
        self.request(&format!("POST {path}"), &all, body.as_bytes())
    }

    /// A call on the admin socket.
    pub(crate) fn admin(&self, line: &str, body: &str) -> Answer {
        self.admin_as(line, &[], body)
    }

    /// The same with these header lines.
    pub(crate) fn admin_as(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.folder.path().join("state/admin.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        // Whoever refuses by the head alone may have closed before the body is written; the answer is what counts.
        let _ = stream.write_all(request.as_bytes());
        read_answer(stream)
    }

    /// The command line, as a user runs it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(["--state-dir", self.folder.path().join("state").to_str().unwrap(), "--utc"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Asks again until it says yes; a test that waits in vain fails.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        for _ in 0..2_000 {
            if let Some(answer) = ask(self) {
                return answer;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("in vain: {what}");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator would, and gives its exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }

    /// Has it read its configuration again. Does not wait until it has.
    pub(crate) fn reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same folder.
    pub(crate) fn start_again(&mut self) {
        let (child, ingest) = spawn(self.folder.path().to_owned());
        (self.child, self.ingest) = (child, ingest);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: PathBuf) -> (Child, SocketAddr) {
    let credentials = folder.join("credentials");
    let environment = std::fs::read_to_string(folder.join("environment")).unwrap_or_default();
    let mut child = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .arg("serve")
        .arg("--config")
        .arg(folder.join("postrider.toml"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .env_clear()
        .envs(environment.lines().filter_map(|line| line.split_once('=')))
        // As systemd hands them over.
        .envs(credentials.exists().then_some(("CREDENTIALS_DIRECTORY", &credentials)))
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    // The first line it prints says where it listens.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap_or_else(|| {
        panic!("it did not start: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default())
    });
    let first = first.unwrap();
    let address = first.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    (child, address)
}

fn read_answer(mut stream: impl std::io::Read) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) && !head.contains(" 100 ") {
                return answer_of(head, &body[..length.unwrap_or(0)]);
            }
        }
        match stream.by_ref().read(&mut buffer) {
            Ok(0) | Err(_) => {
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                return answer_of(head, body);
            }
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn answer_of(head: &str, body: &str) -> Answer {
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
