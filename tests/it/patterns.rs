//! What apps and operators may search for and write out: patterns that make other programs think for ever, and cells that
//! make spreadsheets compute.
#![expect(clippy::disallowed_methods, reason = "how long something takes is what is tested")]

use std::time::{Duration, Instant};

use postrider::catalog::Schema;
use postrider::cli::output::csv::{Field, line};
use proptest::prelude::*;
use serde_json::json;

use crate::rows::covered;
use crate::support::daemon::Daemon;

/// Patterns known for exponential or quadratic time, or for huge automata.
fn evil_patterns() -> Vec<String> {
    let known = [
        "(a+)+$",
        "(a*)*$",
        "(a|a)*$",
        "(a|aa)+$",
        "(a|a?)+$",
        "(.*a){20}$",
        "(a+){10}$",
        "([a-z]+)*$",
        "(a+)+b",
        "a*a*a*a*b",
        "(a?){30}a{30}",
        "^(a+)+$",
        "(x+x+)+y",
        "(.*)*$",
        "(.+)+$",
        "(.*,)*$",
        "([^b]+)*b",
        "(\\w+\\s?)*$",
        "(\\d+)*$",
        "a{1,1000}b",
        "(ab|a)*c",
        "(a|b|ab)*c",
        "((a+)b?)*c",
        "(a+a+)+b",
        "(aa*)*b",
        "([ab]+)+c",
        "(a{0,99}){9}",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(.|a)*b",
        "(\\S+)*x",
        "(a*b?)*c",
        "(?:a+)+?b",
        "(?i)(A+)+$",
        "[a-zA-Z]*[a-z]*[a-z]*$",
        "a+a+a+a+a+$",
        "(^|a)*b",
        "(a+|b+)*c",
        "(a[^b]*)*b",
        "((a))*b",
        "(((((a)*)*)*)*)*b",
        "%%%%%%%%",
        "*a*a*a*a*b",
        "????????",
        "{a,{b,{c,{d",
        "[[[[[[",
        "\\\\\\\\\\",
        "(?=a*)b",
        "(a)\\1+",
        "(?<=a+)b",
        "a**b",
    ];
    assert_eq!(known.len(), 50);
    known.map(str::to_owned).into()
}

#[test]
fn searches_and_schemas_take_as_long_as_the_text_is() {
    const MEGABYTE: usize = 1 << 20;
    let daemon = Daemon::start("[log]\nlevel = \"warn\"\n");
    let hook = json!({"name": "one", "url": "http://127.0.0.1:9/", "event_types": ["*"], "paused": true});
    assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    let body = format!("{{\"scanRef\":\"one\",\"text\":\"{}\"}}", "a".repeat(MEGABYTE - 100));
    assert_eq!(daemon.post("/v1/events/SOS_REPORT", &body).status, 202);
    daemon.until("it can be found", |daemon| {
        (daemon.admin("GET /v1/deliveries?ref=one", "").json()["items"][0].is_object()).then_some(())
    });
    let search = |what: &str| {
        let query: String = url::form_urlencoded::byte_serialize(what.as_bytes()).collect();
        let began = Instant::now();
        let found = daemon.admin(&format!("GET /v1/deliveries?q={query}"), "");
        (found.status, began.elapsed())
    };
    // The quickest of a few: what else the machine does is not meant.
    let plain = (0..3).map(|_| search("no such text").1).min().unwrap();
    let (mut slowest_search, mut slowest_check) = (Duration::ZERO, Duration::ZERO);
    let text = json!("a".repeat(MEGABYTE)).to_string();
    let easy = Schema::compile(&json!({"pattern": "b"}).to_string()).unwrap();
    let began = Instant::now();
    let _ = easy.check(text.as_bytes());
    let easy = began.elapsed();
    let mut compiled = 0;
    for pattern in evil_patterns() {
        let (status, took) = search(&pattern);
        assert_eq!(status, 200, "{pattern}");
        slowest_search = slowest_search.max((0..2).map(|_| search(&pattern).1).min().unwrap().min(took));
        // Those that are no patterns of its engine are refused when the schema is saved.
        let Ok(schema) = Schema::compile(&json!({"pattern": pattern}).to_string()) else { continue };
        compiled += 1;
        let began = Instant::now();
        let _ = schema.check(text.as_bytes());
        slowest_check = slowest_check.max(began.elapsed());
    }
    assert!(slowest_search < plain * 20 + Duration::from_secs(1), "{slowest_search:?}, and {plain:?} for a plain text");
    assert!(slowest_check < easy * 200 + Duration::from_secs(1), "{slowest_check:?}, and {easy:?} for an easy pattern");
    covered(
        &["T17"],
        "searches_and_schemas_take_as_long_as_the_text_is",
        format!(
            "50 patterns over 1 MiB: searches at most {} ms (a plain one {} ms), {compiled} of them in schemas at most {} ms",
            slowest_search.as_millis(),
            plain.as_millis(),
            slowest_check.as_millis()
        ),
    );
}

#[test]
fn no_cell_of_an_exported_table_is_a_formula() {
    const CASES: u32 = 4_000;
    let triggers = [
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
        "\n",
        "\0",
        "＝",
        "＋",
        "－",
        "＠",
        ";=",
        ",=",
        "\"=",
        " =",
        "'=",
        "\u{feff}=",
    ];
    let cell = (prop::sample::select(triggers.to_vec()), ".{0,12}", prop::bool::ANY)
        .prop_map(|(trigger, rest, first)| if first { format!("{trigger}{rest}") } else { format!("{rest}{trigger}") });
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..CASES {
        let cells =
            proptest::strategy::ValueTree::current(&prop::collection::vec(&cell, 1..5).new_tree(&mut runner).unwrap());
        let fields: Vec<Field> = cells.iter().map(Field::from).collect();
        let line = line(&fields);
        // Read by a library that is not ours, and once more as where a semicolon ends a cell.
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(record.len(), cells.len(), "{cells:?}");
        for value in record.iter().flat_map(|value| value.split(';')) {
            assert!(
                !value.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\0']),
                "{value:?} of {cells:?}"
            );
        }
    }
    covered(
        &["T18"],
        "no_cell_of_an_exported_table_is_a_formula",
        format!("{CASES} lines of hostile cells, 0 formulas"),
    );
}
