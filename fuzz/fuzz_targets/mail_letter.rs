//! Mails: whatever stands in a subject, a name or a text, there is one of each header, and no recipient more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::domain::time::Timestamp;
use postrider::mail::message::{Attachment, Letter};

fuzz_target!(|input: (&str, &str, &str, &str, &[u8])| {
    let (subject, text, id, kind, bytes) = input;
    let attachment = Attachment { name: format!("{id}.json"), content_type: kind.to_owned(), bytes: bytes.to_vec() };
    let letter = Letter {
        from: "postrider@example.org".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        subject: subject.to_owned(),
        text: text.to_owned(),
        attachments: vec![attachment],
        message_id: id.to_owned(),
        date: Timestamp::from_millis(1_700_000_000_000),
    };
    let Ok(mail) = letter.to_bytes() else { return };
    let end = mail.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(mail[..end].to_vec()).expect("a head of ASCII");
    assert!(head.is_ascii(), "{head}");
    let mut names: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).collect();
    names.iter_mut().for_each(|line| *line = line.split_once(':').expect("a header").0);
    names.sort_unstable();
    let known = ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];
    assert_eq!(names, known, "{head}");
    assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
});
