//! The journal's own protocol: one datagram an event, with fields of their own beside the text.
//!
//! Only fields with a promised name are sent; everything is in the text as well. A datagram for which the journal has no room is
//! dropped: whoever logs never waits for whoever reads. What it can not take at all has to go another way.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::domain::log_fields::{journal_name, message_id};
use crate::domain::text::printable;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// `None` when there is no journal there.
    pub(super) fn connect(path: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket })
    }

    /// Whether it was taken, or dropped for want of room; `false` when there is no journal any more, or it takes nothing so large.
    pub(super) fn send(&self, datagram: &[u8]) -> bool {
        match self.socket.send(datagram) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// An event as the journal wants it. `fields` are those of the event, as text that may come from anywhere.
pub(super) fn datagram<'a>(
    priority: u8,
    target: &str,
    message: Option<&str>,
    text: &str,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(text.len() + 200);
    let mut put = |name: &str, value: &str| {
        // One line each: what is printable holds no line end, so the short form fits.
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'=');
        datagram.extend_from_slice(value.as_bytes());
        datagram.push(b'\n');
    };
    put("PRIORITY", &priority.to_string());
    put("SYSLOG_IDENTIFIER", "postrider");
    put("POSTRIDER_PART", &printable(target));
    put("MESSAGE", text);
    if let Some(id) = message.and_then(message_id) {
        put("MESSAGE_ID", id);
    }
    for (name, value) in fields {
        if let Some(name) = journal_name(name) {
            put(name, &printable(value));
        }
    }
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_a_name_are_sent_and_no_text_forges_one() {
        let hostile = "x\nMESSAGE_ID=00000000000000000000000000000000\nPRIORITY=0";
        let fields = [("webhook", hostile), ("detail", "y"), ("code", "503")];
        let sent = datagram(4, "postrider::dispatch", Some("a delivery failed for good"), "a text", fields.into_iter());
        let text = String::from_utf8(sent).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert_eq!(
            lines[..4],
            ["PRIORITY=4", "SYSLOG_IDENTIFIER=postrider", "POSTRIDER_PART=postrider::dispatch", "MESSAGE=a text"]
        );
        assert_eq!(lines[4], "MESSAGE_ID=5b0d0c6f3a7e4c41a5f2f5b1d8a3c003");
        assert!(lines[5].starts_with("POSTRIDER_WEBHOOK=x") && lines[6] == "POSTRIDER_CODE=503", "{text}");
    }

    #[test]
    fn a_journal_that_reads_nothing_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Journal::connect(&path).is_none());
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        // More than any queue holds; none of them waits.
        assert!((0..100_000).all(|_| journal.send(&[b'x'; 1000])));
        let mut buffer = [0; 2000];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 1000);
        drop(listener);
        assert!(!journal.send(b"x"), "nobody is there any more");
    }
}
