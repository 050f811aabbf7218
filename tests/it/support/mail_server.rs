//! A mail server on loopback that keeps what it takes. It does not judge mail, and speaks no more of
//! SMTP than the daemon asks for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A mail server that takes everything; gives its port and what it took.
pub(crate) fn sink() -> (u16, Arc<Mutex<Vec<String>>>) {
    sink_behind(None)
}

/// The same; with a password it takes nothing from anybody who does not log in with that.
pub(crate) fn sink_behind(password: Option<&'static str>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = Arc::clone(&mails);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut writer = stream.unwrap();
            let mut lines = BufReader::new(writer.try_clone().unwrap()).lines();
            let mut text: Option<String> = None;
            let mut known = password.is_none();
            let _ = writer.write_all(b"220 sink\r\n");
            while let Some(Ok(line)) = lines.next() {
                let answer = match (&mut text, line.as_str()) {
                    (Some(all), ".") => {
                        taken.lock().unwrap().push(std::mem::take(all));
                        text = None;
                        "250 taken"
                    }
                    (Some(all), line) => {
                        all.push_str(line);
                        all.push('\n');
                        continue;
                    }
                    (None, line) if line.starts_with("EHLO") && !known => "250-sink\r\n250 AUTH PLAIN",
                    (None, line) if line.starts_with("AUTH PLAIN ") => {
                        let login = STANDARD.decode(&line["AUTH PLAIN ".len()..]).unwrap();
                        known = password.is_some_and(|password| login.ends_with(format!("\0{password}").as_bytes()));
                        if known { "235 2.7.0 fine" } else { "535 5.7.8 who are you?" }
                    }
                    (None, _) if !known => "530 5.7.0 log in first",
                    (None, "DATA") => {
                        text = Some(String::new());
                        "354 go on"
                    }
                    (None, line) if line.starts_with("RCPT TO:<refused@") => "550 5.1.1 nobody of that name",
                    (None, _) => "250 fine",
                };
                let _ = writer.write_all(format!("{answer}\r\n").as_bytes());
            }
        }
    });
    (port, mails)
}
