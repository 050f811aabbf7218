//! Pictures of the form, its dialogs, the schema viewer and the result of a test, at the sizes that are
//! designed. `INSTA_UPDATE=always` writes them anew, and whoever does that looks at them.

use crate::admin::protocol::{RequestView, StepView, TestView};
use crate::tui::message::{Ask, Got, Refused, Trouble};
use crate::tui::tests::{Bench, SIZES, webhooks};
use crate::tui::text::Glyphs;

fn picture(name: &str, prepare: impl Fn(&mut Bench)) {
    for (columns, rows) in SIZES {
        let mut bench = Bench::new(columns, rows);
        bench.press("2").answer_all();
        prepare(&mut bench);
        insta::assert_snapshot!(format!("{name}_{columns}x{rows}"), bench.screen());
    }
}

/// The form of `aml-watch`.
pub(super) fn open(bench: &mut Bench) {
    bench.model.webhooks.list.selected = Some("wh_1".to_owned());
    bench.press("Enter").answer_all();
}

/// Goes on with Tab until the focus is on what this is the label of.
pub(super) fn tab_to(bench: &mut Bench, label: &str) {
    for _ in 0..60 {
        let status = bench.model.pages.last().and_then(|page| page.status(&bench.model));
        if status.is_some_and(|(text, _)| text.trim_start_matches("! ").starts_with(&format!("{label}:"))) {
            return;
        }
        bench.press("Tab");
    }
    panic!("there is no field {label}\n{}", bench.screen());
}

#[test]
fn new() {
    picture("new", |bench| {
        bench.press("n").answer_all();
    });
}

#[test]
fn edit() {
    picture("edit", |bench| {
        open(bench);
        tab_to(bench, "Retry count");
        bench.press("Backspace").type_text("9");
        bench.press("Tab").press("S-Tab");
        for _ in 0..20 {
            bench.press("Up");
        }
    });
}

#[test]
fn changed() {
    picture("changed", |bench| {
        open(bench);
        tab_to(bench, "Event type");
        bench.type_text("exp").press("Enter").answer_all();
        tab_to(bench, "Retry count");
        bench.press("Backspace").type_text("9");
    });
}

#[test]
fn with_errors() {
    picture("errors", |bench| {
        bench.press("n").answer_all();
        bench.type_text("aml/watch").press("Tab").type_text("risk.example.net");
        bench.press("^S");
    });
}

#[test]
fn scrolled_to_the_end() {
    picture("scrolled", |bench| {
        open(bench);
        tab_to(bench, "Conditions");
        bench.press("Space").type_text("/final").press("Tab Tab").type_text("true");
        tab_to(bench, "Client key");
    });
}

#[test]
fn oauth() {
    picture("oauth", |bench| {
        open(bench);
        tab_to(bench, "Token");
        bench.type_text("hunter2").press("Tab");
    });
}

#[test]
fn a_secret_that_is_shown() {
    picture("revealed", |bench| {
        open(bench);
        tab_to(bench, "Signing key");
        bench.type_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwj=").press("^R");
    });
}

#[test]
fn read_only() {
    picture("read_only", |bench| {
        bench.model.read_only = true;
        open(bench);
        bench.type_text("x");
    });
}

#[test]
fn picker() {
    picture("picker", |bench| {
        open(bench);
        tab_to(bench, "Event type");
        bench.press("Space Down Space");
    });
    picture("picker_found", |bench| {
        open(bench);
        tab_to(bench, "Event type");
        bench.type_text("expir");
    });
}

#[test]
fn leave() {
    picture("leave", |bench| {
        open(bench);
        bench.type_text("2").press("Esc");
    });
}

#[test]
fn conflict() {
    picture("conflict", |bench| {
        open(bench);
        bench.type_text("2").press("Tab").type_text("/v2").press("^S");
        let ask = bench.asks().into_iter().find(|ask| matches!(ask, Ask::Change(..))).unwrap();
        let mut theirs = webhooks()[0].clone();
        (theirs.version, theirs.updated_by) = (4, "bob".to_owned());
        theirs.url = "https://risk.example.net/new".to_owned();
        theirs.retry.count = 3;
        let refused = Refused { status: 409, current: Some(Box::new(theirs)), ..Refused::default() };
        bench.answer(ask, Err(Trouble::Refused(Box::new(refused))));
    });
}

fn step(name: &str, state: &str, took: Option<f64>, detail: &str, cause: Option<&str>) -> StepView {
    StepView {
        name: name.to_owned(),
        state: state.to_owned(),
        duration_ms: took,
        detail: detail.to_owned(),
        cause: cause.map(str::to_owned),
    }
}

pub(super) fn tested(code: u16) -> TestView {
    let good = code == 200;
    let cause = (!good).then_some("the receiver refused the Authorization header");
    TestView {
        delivered: good,
        code,
        class: if good { "2xx" } else { "4xx" }.to_owned(),
        error: None,
        duration_ms: 118.4,
        event_type: "AML_MONITORING".to_owned(),
        payload_bytes: 2_260,
        steps: vec![
            step("url", "ok", None, "https://risk.example.net/aml", None),
            step("dns", "ok", Some(1.2), "risk.example.net -> 203.0.113.40", None),
            step("connect", "ok", Some(14.0), "203.0.113.40:443", None),
            step("tls", "ok", Some(31.0), "TLS 1.3, certificate valid for 61 days", None),
            step("oauth", "ok", Some(22.0), "token from auth.example.net, 3600 s", None),
            step("signature", "ok", None, "v1, HMAC-SHA256", None),
            step("request", "ok", None, "POST, 2260 bytes", None),
            step("response", if good { "ok" } else { "failed" }, Some(50.0), &format!("{code}, 50 ms of 10 s"), cause),
        ],
        request: Some(RequestView {
            method: "POST".to_owned(),
            url: "https://risk.example.net/aml".to_owned(),
            headers: vec![("x-env".to_owned(), "prod".to_owned()), ("authorization".to_owned(), "…".to_owned())],
            timeout_seconds: 10,
        }),
    }
}

fn test_it(bench: &mut Bench, got: Result<Got, Trouble>) {
    open(bench);
    bench.type_text("2").press("^T");
    let ask = bench.asks().into_iter().find(|ask| matches!(ask, Ask::Test(..))).unwrap();
    bench.answer(ask, got);
}

#[test]
fn a_test_that_failed() {
    picture("test_failed", |bench| test_it(bench, Ok(Got::Tested(Box::new(tested(401))))));
}

#[test]
fn a_test_that_went_well() {
    picture("test_ok", |bench| test_it(bench, Ok(Got::Tested(Box::new(tested(200))))));
}

#[test]
fn a_test_under_way_and_one_that_was_refused() {
    picture("test_under_way", |bench| {
        open(bench);
        bench.press("^T");
    });
    picture("test_refused", |bench| {
        let fields = vec![("headers[0].name".to_owned(), "is set by postrider and can not be replaced".to_owned())];
        let refused = Refused { status: 422, fields, ..Refused::default() };
        test_it(bench, Err(Trouble::Refused(Box::new(refused))));
    });
}

#[test]
fn schema() {
    picture("schema", |bench| {
        open(bench);
        bench.press("^O").answer_all();
        bench.press("/").type_text("scanRef").press("Enter");
    });
    picture("example", |bench| {
        open(bench);
        bench.press("^O").answer_all().press("x").answer_all().press("j j j");
    });
}

#[test]
fn toml_with_a_mistake() {
    picture("rewrite", |bench| {
        let purpose = crate::tui::message::EditFor::Webhook { id: "wh_1".to_owned(), version: 3 };
        let text = "name = \"aml-watch\"\nurl = https://risk.example.net\n".to_owned();
        bench.send(crate::tui::message::Message::Edited(purpose, Ok(text)));
    });
}

/// Every place of the form says what it is for in one line.
#[test]
fn no_help_is_cut_at_80_columns() {
    let mut bench = Bench::new(80, 24);
    bench.press("2").answer_all();
    open(&mut bench);
    tab_to(&mut bench, "Conditions");
    bench.press("Space");
    tab_to(&mut bench, "Backoff");
    bench.press("Space");
    tab_to(&mut bench, "Signing key");
    bench.type_text("k");
    for _ in 0..60 {
        let status = bench.model.pages.last().and_then(|page| page.status(&bench.model));
        let (text, _) = status.unwrap();
        assert!(text.len() <= 79 || text.starts_with('!'), "{} {text}", text.len());
        bench.press("Tab");
    }
}

/// Also where there is no room: `Pen` clips, and sums do not go below nothing.
#[test]
fn everything_is_drawn_at_every_size() {
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;

    use crate::tui::view::pen::Pen;
    let prepared: [fn(&mut Bench); 7] = [
        |bench| tab_to(bench, "Client key"),
        |bench| tab_to(bench, "Token"),
        |bench| {
            bench.press("^O").answer_all().press("j j");
        },
        |bench| {
            tab_to(bench, "Event type");
            bench.press("Space");
        },
        |bench| {
            bench.type_text("2").press("Esc");
        },
        |bench| test_it(bench, Ok(Got::Tested(Box::new(tested(401))))),
        |bench| {
            bench.press("^N").type_text("X").press("^S");
        },
    ];
    for prepare in prepared {
        let mut bench = Bench::new(120, 40);
        bench.press("2").answer_all();
        open(&mut bench);
        prepare(&mut bench);
        for columns in (1..=130).step_by(3) {
            for rows in (1..=45).step_by(2) {
                bench.model.size = (columns, rows);
                let area = Rect::new(0, 0, columns, rows);
                let mut buffer = Buffer::empty(area);
                let mut pen = Pen::new(&mut buffer, area, &bench.model.theme, bench.model.glyphs);
                bench.model.pages.iter().for_each(|page| page.view(&bench.model, &mut pen));
                bench.model.dialogs.iter().for_each(|dialog| dialog.view(&bench.model, &mut pen));
            }
        }
    }
}

#[test]
fn in_ascii_the_form_has_nothing_else() {
    let mut bench = Bench::new(120, 40);
    bench.model.glyphs = Glyphs::ASCII;
    bench.press("2").answer_all();
    open(&mut bench);
    tab_to(&mut bench, "Event type");
    assert!(bench.screen().is_ascii(), "{}", bench.screen());
    insta::assert_snapshot!("ascii_120x40", bench.screen());
}
