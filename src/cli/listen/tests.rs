//! What a receiver shows, without a network.

use clap::Parser as _;
use jiff::tz::TimeZone;

use super::*;
use crate::cli::output::Look;
use crate::cli::output::tests::{Written, look, memory};
use crate::cli::{Cli, Command, Places};
use crate::clock::Clock;
use crate::domain::text::misleads;
use crate::domain::time::Timestamp;

fn arguments(line: &str) -> Result<Arguments, clap::Error> {
    match Cli::try_parse_from(format!("postrider listen {line}").split_whitespace())?.command {
        Some(Command::Listen(arguments)) => Ok(arguments),
        other => panic!("{other:?}"),
    }
}

fn session(look: Look) -> (Session<'static>, Written, Written) {
    let (output, out, err) = memory(look);
    let session = Session {
        output,
        env: &|_| None,
        places: Places::default(),
        zone: TimeZone::UTC,
        clock: Clock::system(),
        no_color: true,
    };
    (session, out, err)
}

fn seen() -> Seen {
    Seen {
        number: 0,
        at: Timestamp::from_millis(1_795_425_932_045),
        method: "POST".to_owned(),
        path: "/aml".to_owned(),
        event_type: Some("AML_MONITORING".to_owned()),
        webhook_id: Some("evt_1".to_owned()),
        delivery: Some("dlv_1".to_owned()),
        attempt: Some("2".to_owned()),
        test: false,
        body: b"{\n\t\"a\": 1\n}".to_vec(),
        body_signature: Verdict::Good,
        standard_signature: Verdict::Wrong,
    }
}

#[test]
fn flags_make_a_conduct() {
    let conduct = arguments("--status 200x2,503 --delay 250 --retry-after 7 --reset 4th").unwrap().conduct();
    assert_eq!(conduct.reaction(0, 0.0), Reaction::answer(200).after(Duration::from_millis(250)));
    let asked = Act::Answer { status: 503, retry_after: Some(7) };
    assert_eq!(conduct.reaction(2, 0.0), Reaction { delay: Duration::from_millis(250), act: asked });
    assert_eq!(conduct.reaction(3, 0.0).act, Act::Reset);
    assert_eq!(arguments("").unwrap().address, IpAddr::V4(Ipv4Addr::LOCALHOST));
    for (line, hint) in [
        ("--status 99", "200 to 599"),
        ("--reset often", "20%"),
        ("--count 0", "--count"),
        ("--delay 60001", "--delay"),
        ("--key k --key-file f", "cannot be used with"),
        ("--slow-drip --endless-body", "cannot be used with"),
    ] {
        let error = arguments(line).unwrap_err().to_string();
        assert!(error.contains(hint), "{line}: {error}");
    }
    assert_eq!(arguments("--key=").unwrap().key().unwrap_err().exit, ExitCode::Usage);
}

#[test]
fn a_request_is_two_lines_and_its_payload() {
    let (mut session, out, _) = session(look());
    let reaction =
        Conduct { retry_after: Some(5), ..arguments("--status 503 --delay 20").unwrap().conduct() }.reaction(0, 0.0);
    show(&mut session, Some(Told::Request(Box::new(seen()), reaction)), true).unwrap();
    show(&mut session, Some(Told::Request(Box::new(seen()), Reaction::answer(200))), false).unwrap();
    let facts = "    AML_MONITORING, attempt 2, evt_1, 11 bytes; Idenfy-Signature ok, webhook-signature WRONG\n";
    assert_eq!(
        out.text(),
        format!(
            "09:25:32.045 POST /aml -> 503, Retry-After 5, after 20 ms\n{facts}    | {{\n    |     \"a\": 1\n    | }}\n\
             09:25:32.045 POST /aml -> 200\n{facts}"
        )
    );
}

#[test]
fn what_a_sender_wrote_steers_no_terminal_and_is_bounded() {
    let hostile = "x\u{1b}[2J\r\n\u{202e}".repeat(3_000);
    let seen = Seen {
        path: hostile.clone(),
        event_type: Some(hostile.clone()),
        webhook_id: Some(hostile.clone()),
        attempt: Some(hostile.clone()),
        body: hostile.clone().into_bytes(),
        ..seen()
    };
    let (mut session, out, err) = session(look());
    show(&mut session, Some(Told::Request(Box::new(seen.clone()), Reaction::answer(200))), true).unwrap();
    let text = out.text();
    assert!(!text.replace('\n', "").contains(misleads) && err.text().is_empty());
    assert!(text.len() < 40_000 && text.contains("more bytes"), "{}", text.len());
    let (mut session, out, _) = self::session(Look { json: true, ..look() });
    show(&mut session, Some(Told::Request(Box::new(seen), Reaction::answer(200))), true).unwrap();
    let text = out.text();
    assert_eq!(text.lines().count(), 1);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&object["body"], &object["body_is_whole"]), (&Value::from(hostile), &Value::from(true)));
    assert_eq!((&object["number"], &object["status"]), (&Value::from(1), &Value::from(200)));
}

#[test]
fn only_what_is_answered_counts() {
    let (mut session, out, err) = session(look());
    let mut shown = |told| show(&mut session, told, false);
    assert_eq!(shown(Some(Told::Request(Box::new(seen()), Reaction::answer(200)))), Ok(false));
    assert_eq!(shown(Some(Told::Refused(413, "too long"))), Ok(false));
    assert_eq!(shown(Some(Told::Answered { heard: true })), Ok(true));
    assert_eq!(shown(Some(Told::Answered { heard: false })), Ok(true));
    assert_eq!(shown(Some(Told::Broken("gone".to_owned()))).unwrap_err().exit, ExitCode::InputOutput);
    assert!(out.text().contains(" refused with 413: too long\n"));
    assert_eq!(err.text(), "a sender hung up before its answer\n");
}
