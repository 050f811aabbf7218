//! The tabs, pages and dialogs as pictures, at the three sizes that are designed; the most important
//! of them with their styles, and in ASCII.

use std::time::Duration;

use super::bench::styles;
use super::{Bench, SIZES, delivery, stats, webhooks};
use crate::admin::protocol::PageView;
use crate::tui::message::{Ask, Got};
use crate::tui::text::Glyphs;
use crate::tui::theme::Base;

fn picture(name: &str, prepare: impl Fn(&mut Bench)) {
    for (columns, rows) in SIZES {
        let mut bench = Bench::new(columns, rows);
        prepare(&mut bench);
        insta::assert_snapshot!(format!("{name}_{columns}x{rows}"), bench.screen());
    }
}

/// Presses keys and answers what they ask for.
fn go(keys: &'static str) -> impl Fn(&mut Bench) {
    move |bench| {
        for key in keys.split(' ') {
            bench.press(key).answer_all();
        }
        // What is asked for a moment later is there as well.
        bench.wait(Duration::from_secs(1));
        bench.answer_all();
    }
}

#[test]
fn overview() {
    picture("overview", go("1"));
}

#[test]
fn nothing_there_yet() {
    for (columns, rows) in SIZES {
        let mut bench = Bench::bare(columns, rows);
        bench.send(crate::tui::message::Message::Tick);
        insta::assert_snapshot!(format!("connecting_{columns}x{rows}"), bench.screen());
        bench.send(crate::tui::message::Message::Changes(Ok(super::changes(1))));
        for ask in bench.asks() {
            let got = match ask {
                Ask::Status => Got::Status(Box::default()),
                Ask::Stats => Got::Stats(Box::default()),
                Ask::Webhooks => Got::Webhooks(Vec::new()),
                Ask::EventTypes => Got::EventTypes(Vec::new()),
                Ask::Recent { .. } => Got::Deliveries(PageView { items: Vec::new(), cursor: None }),
                _ => panic!("nothing else is asked for"),
            };
            bench.answer(ask, Ok(got));
        }
        insta::assert_snapshot!(format!("empty_{columns}x{rows}"), bench.screen());
    }
}

#[test]
fn all_is_well() {
    picture("well", |bench| {
        let mut stats = stats();
        for hook in &mut stats.webhooks {
            (hook.failing, hook.failing_since, hook.series.failed) = (false, None, Vec::new());
        }
        bench.answer(Ask::Stats, Ok(Got::Stats(Box::new(stats))));
    });
}

#[test]
fn the_daemon_is_gone() {
    picture("lost", |bench| {
        bench.press("2").answer_all().lose();
    });
}

#[test]
fn the_tabs() {
    picture("webhooks", go("2 j"));
    picture("deliveries", go("3 j Space j Space j"));
    picture("events", go("4 j"));
    picture("system", go("5"));
}

#[test]
fn lists_that_are_narrowed() {
    picture("webhooks_found", |bench| {
        bench.press("2 /").type_text("risk").press("Enter").answer_all();
    });
    picture("deliveries_class", go("3 c 5"));
    picture("deliveries_nothing", |bench| {
        bench.press("3").answer_all().press("/").type_text("none").press("Enter").answer_all();
    });
    picture("deliveries_wide", go("3 w l"));
}

#[test]
fn pages() {
    picture("delivery", go("3 j Enter"));
    picture("delivery_request", go("3 j Enter i"));
    picture("payload", go("3 j v"));
    picture("event", go("4 Enter"));
    picture("help", go("3 ?"));
}

#[test]
fn dialogs() {
    picture("delete", |bench| {
        bench.press("2 j d").type_text("aml-wat");
    });
    picture("resend_delivered", go("3 j j r"));
    picture("resend_marked", go("3 Space Space Space R"));
    picture("stop", go("3 x"));
    picture("classes", go("3 c"));
    picture("filter", go("3 f"));
    picture("resend_all_counted", go("3 R"));
    picture("resend_all_running", go("3 R y"));
    picture("palette", |bench| {
        bench.press("3 :").type_text("res");
    });
    picture("new_token", |bench| {
        bench.press("5").answer_all().press("n").type_text("billing").press("Enter").answer_all();
    });
    picture("verified", go("5 V"));
}

#[test]
fn the_colours() {
    for base in [Base::Ansi16, Base::Dark] {
        for (name, keys) in [("overview", "1"), ("deliveries", "3 j")] {
            let mut bench = Bench::new(80, 24);
            bench.model.theme.base = base;
            go(keys)(&mut bench);
            insta::assert_snapshot!(format!("styles_{name}_{}", base.as_str()), styles(&bench.buffer()));
        }
    }
}

#[test]
fn in_ascii_there_is_nothing_else() {
    for keys in ["1", "2 j", "3 j", "3 j Enter", "4", "4 Enter", "5", "3 ?", "2 d", "3 c", "3 f", "3 R"] {
        let mut bench = Bench::new(120, 40);
        bench.model.glyphs = Glyphs::ASCII;
        go(keys)(&mut bench);
        let screen = bench.screen();
        assert!(screen.is_ascii(), "{keys}\n{screen}");
    }
}

#[test]
fn states_differ_in_words_and_not_only_in_colour() {
    let mut seen = std::collections::HashSet::new();
    for (state, code, sending) in [
        ("pending", None, false),
        ("pending", Some(503), false),
        ("pending", None, true),
        ("delivered", Some(200), false),
        ("failed", Some(503), false),
        ("cancelled", Some(503), false),
        ("skipped", None, false),
    ] {
        let mut one = delivery(50, "aml-watch", state, code);
        one.sending = sending;
        assert!(seen.insert(crate::tui::screen::words::of_delivery(&one).0), "{state} {code:?} {sending}");
    }
    let hooks = webhooks();
    let words: std::collections::HashSet<_> =
        hooks.iter().map(|hook| crate::tui::screen::words::of_webhook(hook).0).collect();
    assert_eq!(words.len(), 3);
}
