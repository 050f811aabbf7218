//! Mails written and read back by a parser that is not ours.

use std::collections::BTreeSet;

use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::domain::id::WebhookId;
use crate::mail::digest::Episode;

const HOSTILE: [&str; 8] = [
    "a\r\nBcc: evil@example.net\r\n\r\nbody",
    "a\nX-Evil: 1",
    "a\0b",
    "\u{202e}drowssap\u{2066}",
    ".\r\n.\r\nQUIT",
    "=?utf-8?q?=0D=0ABcc:_evil=40example.net?=",
    "Zażółć \"quoted\" <evil@example.net>, , ;",
    "\u{85}\u{2028}\u{9b}2J",
];

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_425_932_045)
}

fn notice(name: &str, event_type: &str, scan_ref: &str, count: u64, kind: Kind) -> Notice {
    let mut episode = Episode::default();
    for number in 0..count {
        episode.failed(Entry {
            delivery: format!("dlv_{number}"),
            event_type: event_type.to_owned(),
            scan_ref: Some(scan_ref.to_owned()),
            accepted_at: now().minus(Duration::from_secs(1000 + number)),
            at: now(),
            attempts: 6,
            result: if number % 3 == 0 { "503".to_owned() } else { "timeout".to_owned() },
        });
    }
    if kind == Kind::Recovery {
        episode.succeeded(now());
    }
    let about = About {
        name: name.to_owned(),
        url: "https://user:pass@risk.example.net:8443/aml?token=secret#frag".to_owned(),
        to: vec!["ops@example.com".to_owned(), "aml@exämple.net".to_owned()],
        include_body: true,
    };
    Notice {
        message_id: "0123@host".to_owned(),
        made_at: now(),
        webhook: WebhookId::from_bytes([7; 16]),
        about,
        told: episode.take(kind, now()),
        settled: Vec::new(),
        tries: 0,
        next_try_at: now(),
    }
}

fn letter(notice: &Notice, payloads: Vec<(String, Payload)>) -> Letter {
    compose(notice, &notice.about, payloads, "postrider@host", "host")
}

/// Names of all headers, and that the recipients are those that they should be.
fn check_headers(bytes: &[u8], attachments: bool) {
    let message = MessageParser::default().parse(bytes).expect("a mail");
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    // Folded lines belong to the one before.
    let lines = bytes[..head_end].split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b" "));
    let names: Vec<String> = lines
        .map(|line| String::from_utf8_lossy(line).split(':').next().unwrap_or_default().to_ascii_lowercase())
        .collect();
    let mut expected: BTreeSet<&str> =
        ["from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type"].into();
    if !attachments {
        expected.insert("content-transfer-encoding");
    }
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    assert_eq!(names.len(), expected.len(), "each once");
    let to: Vec<&str> = message.to().unwrap().iter().filter_map(|one| one.address()).collect();
    assert_eq!(to, ["ops@example.com", "aml@xn--exmple-cua.net"]);
    assert_eq!(message.from().unwrap().first().unwrap().address(), Some("postrider@host"));
    assert!(message.cc().is_none() && message.bcc().is_none());
    assert_eq!(message.message_id(), Some("0123@host"));
    assert_eq!(message.date().unwrap().to_timestamp(), 1_795_425_932);
    assert!(String::from_utf8_lossy(&bytes[..head_end]).contains("Auto-Submitted: auto-generated"));
    // Nothing that could end the mail early or be a line of its own.
    assert!(bytes.is_ascii() && !bytes.contains(&0));
    assert!(!bytes.windows(2).any(|two| (two[1] == b'\n') != (two[0] == b'\r')), "bare line ends");
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));
}

#[test]
fn no_name_injects_a_header_a_recipient_or_a_line() {
    let long = "x".repeat(10_000);
    for name in HOSTILE.iter().chain([&long.as_str()]) {
        for kind in [Kind::Failures, Kind::Recovery] {
            let notice = notice(name, name, name, 3, kind);
            let payload = (name.to_string(), Ok((name.to_string(), name.as_bytes().to_vec())));
            for payloads in [Vec::new(), vec![payload]] {
                let attached = !payloads.is_empty();
                let letter = letter(&notice, payloads);
                assert!(!letter.subject.contains(crate::domain::text::misleads));
                assert!(letter.text.lines().all(|line| !line.contains(crate::domain::text::misleads)), "{name:?}");
                let bytes = letter.to_bytes().unwrap();
                check_headers(&bytes, attached);
                let message = MessageParser::default().parse(&bytes).unwrap();
                assert_eq!(message.subject().unwrap(), letter.subject);
                let text = message.body_text(0).unwrap().replace("\r\n", "\n");
                assert_eq!(text.trim_end(), letter.text.trim_end());
            }
        }
    }
}

#[test]
fn a_mail_says_what_failed_and_what_to_do() {
    let notice = notice("aml-watch", "AML_MONITORING", "8f3a", 214, Kind::Failures);
    let letter = letter(&notice, Vec::new());
    assert_eq!(letter.subject, "[postrider] aml-watch: 214 deliveries failed");
    for expected in [
        "postrider on host has given up on 214 deliveries of webhook\naml-watch.",
        "receiver  https://risk.example.net:8443/aml?…\n",
        "failed    214 deliveries\n",
        "503: 72\n",
        "timeout: 142\n",
        "AML_MONITORING: 214\n",
        "timeout: no answer within timeout_seconds",
        "503: the proxy before the receiver",
        "postrider delivery list --webhook aml-watch --state failed --since 2026-11-23T09:05:19Z\n",
        "postrider delivery resend --webhook aml-watch --state failed --since 2026-11-23T09:05:19Z\n",
        "The first 100 of 214\n",
        "dlv_0\n    AML_MONITORING, scanRef 8f3a\n    2026-11-23T09:25:32Z, 6 attempts, 503\n",
        "… and 114 more",
    ] {
        assert!(letter.text.contains(expected), "{expected}\n---\n{}", letter.text);
    }
    for secret in ["pass", "token", "secret", "frag"] {
        assert!(!letter.text.contains(secret), "{secret}");
    }
}

#[test]
fn one_failure_is_resent_by_its_id_and_a_gone_receiver_is_told() {
    let mut one = notice("aml", "SOS_REPORT", "x", 1, Kind::Failures);
    let text = letter(&one, Vec::new()).text;
    assert!(text.contains("  postrider delivery resend dlv_0\n") && !text.contains("--state failed"));
    assert_eq!(letter(&one, Vec::new()).subject, "[postrider] aml: 1 delivery failed (503)");
    one.told.fresh.results = [("410".to_owned(), 1)].into();
    let text = letter(&one, Vec::new()).text;
    assert!(text.contains("the receiver answered 410 Gone; the webhook is paused"), "{text}");
    assert!(text.contains("  postrider webhook resume aml\n"));
    // A name that a shell would read otherwise is not put into a command.
    one.about.name = "$(reboot) `x`; y".to_owned();
    one.told.total = 2;
    let text = letter(&one, Vec::new()).text;
    assert!(text.contains(&format!("--webhook {} --state", one.webhook)), "{text}");
}

#[test]
fn a_recovery_says_so() {
    let mut recovery = notice("aml", "SOS_REPORT", "x", 2, Kind::Recovery);
    let with_failures = letter(&recovery, Vec::new());
    assert_eq!(with_failures.subject, "[postrider] aml: recovered, after 2 deliveries failed");
    assert!(with_failures.text.contains("dlv_1"));
    recovery.told.fresh = crate::mail::digest::Tally::default();
    let plain = letter(&recovery, Vec::new());
    assert_eq!(plain.subject, "[postrider] aml: recovered");
    assert!(plain.text.contains("The receiver takes deliveries of postrider on host again"));
    assert!(plain.text.contains("failed    2 deliveries\n"));
    check_headers(&plain.to_bytes().unwrap(), false);
}

#[test]
fn payloads_go_along_byte_for_byte_within_the_limit() {
    let odd = b"{\"a\":\"\xff\r\n.\r\n\n\"}".to_vec();
    let json = "application/json".to_owned();
    let some = |bytes: Vec<u8>| Ok((json.clone(), bytes));
    let three = notice("aml", "SOS_REPORT", "x", 7, Kind::Failures);
    let payloads = vec![
        ("dlv_0".to_owned(), some(odd.clone())),
        ("dlv_1".to_owned(), some(vec![b'x'; ATTACHED_BYTES_MAX])),
        ("dlv_2".to_owned(), Err("it is gone\r\nX: y".to_owned())),
        ("dlv_3".to_owned(), some(b"{}".to_vec())),
    ];
    let written = letter(&three, payloads);
    let bytes = written.to_bytes().unwrap();
    check_headers(&bytes, true);
    let message = MessageParser::default().parse(&bytes).unwrap();
    let attached: Vec<(Option<&str>, &[u8])> =
        message.attachments().map(|part| (part.attachment_name(), part.contents())).collect();
    assert_eq!(attached, [(Some("dlv_0.json"), &odd[..]), (Some("dlv_3.json"), b"{}")]);
    for expected in [
        "dlv_1: not attached, its 32768 bytes are too many",
        "dlv_2: not attached, it is gone\\u{d}\\u{a}X: y",
        "of 2 more nothing is attached",
    ] {
        assert!(written.text.contains(expected), "{}", written.text);
    }
    // The only one is cut.
    let only =
        letter(&notice("aml", "SOS_REPORT", "x", 1, Kind::Failures), vec![("dlv_0".into(), some(vec![b'y'; 40_000]))]);
    assert_eq!(only.attachments[0].bytes.len(), ATTACHED_BYTES_MAX);
    assert!(only.text.contains("dlv_0.json: the first 32768 of 40000 bytes"), "{}", only.text);
}

#[test]
fn addresses_that_are_none_are_left_out() {
    let mut letter = test_letter("ops@example.com", "postrider@host", "host", "1@host".to_owned(), now());
    letter.to.push("a@b\r\nBcc: evil@example.net".to_owned());
    let bytes = letter.to_bytes().unwrap();
    let message = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(message.to().unwrap().iter().count(), 1);
    assert!(!String::from_utf8_lossy(&bytes).contains("evil"));
    letter.from = "x\r\ny".to_owned();
    assert!(letter.to_bytes().is_err());
}

proptest! {
    #[test]
    fn whatever_the_names_the_headers_are_the_same(name in any::<String>(), scan_ref in any::<String>(), url in any::<String>()) {
        let mut notice = notice(&name, &scan_ref, &scan_ref, 2, Kind::Failures);
        notice.about.url = url;
        check_headers(&letter(&notice, Vec::new()).to_bytes().unwrap(), false);
    }
}
