//! What the UI does when keys are pressed and answers come: the promises of its help.

use std::time::Duration;

use super::{Bench, changes, deliveries, delivery};
use crate::admin::client::Bulk;
use crate::admin::protocol::PageView;
use crate::tui::keymap::{Action, Context, Keymap};
use crate::tui::message::{Ask, Effect, Got, Message};
use crate::tui::update::wake_in;

fn list() -> Bench {
    let mut bench = Bench::new(80, 24);
    bench.press("3").answer_all();
    bench
}

fn note(bench: &Bench) -> String {
    bench.model.note.as_ref().map_or(String::new(), |note| note.text.clone())
}

#[test]
fn one_is_resent_with_one_key_and_what_was_delivered_is_asked_about() {
    let mut bench = list();
    bench.press("r");
    assert!(matches!(&bench.asks()[..], [Ask::Resend(id)] if *id == deliveries()[0].id));
    bench.press("j j r");
    assert_eq!((bench.model.dialogs.len(), bench.asks().len()), (1, 0));
    bench.press("Enter");
    assert_eq!((bench.model.dialogs.len(), bench.asks().len()), (0, 0), "Enter alone is Cancel");
    bench.press("r Tab Enter");
    assert!(matches!(&bench.asks()[..], [Ask::Resend(id)] if *id == deliveries()[2].id));
}

#[test]
fn marked_ones_are_resent_without_those_already_delivered_unless_that_is_ticked() {
    let mut bench = list();
    bench.press("Space Space Space R");
    assert!(bench.screen().contains("Resend 2"), "{}", bench.screen());
    bench.press("y");
    assert!(matches!(&bench.asks()[..], [Ask::Each(Bulk::Resend, ids)] if ids.len() == 2));
    bench.press("R Space y");
    assert!(matches!(&bench.asks()[..], [Ask::Each(Bulk::Resend, ids)] if ids.len() == 3));
}

#[test]
fn a_webhook_is_deleted_only_when_its_name_is_typed_and_comes_back() {
    let mut bench = Bench::new(80, 24);
    bench.press("2").answer_all().press("j d").type_text("aml-wat").press("Tab Enter");
    assert!(bench.asks().is_empty(), "the name is not whole");
    bench.type_text("ch").press("Enter");
    let asks = bench.asks();
    let [Ask::Delete(id, name)] = &asks[..] else { panic!("{}", bench.screen()) };
    assert_eq!((id.as_str(), name.as_str()), ("wh_1", "aml-watch"));
    bench.answer(asks[0].clone(), Ok(Got::Nothing));
    assert!(note(&bench).contains("u takes it back"));
    bench.asks();
    bench.press("u");
    assert!(bench.asks().iter().any(|ask| matches!(ask, Ask::Restore(id, _) if id == "wh_1")));
    // After ten minutes it is too late.
    bench.answer(Ask::Delete("wh_1".to_owned(), "aml-watch".to_owned()), Ok(Got::Nothing));
    bench.wait(Duration::from_secs(601));
    bench.asks();
    bench.press("u");
    assert!(!bench.asks().iter().any(|ask| matches!(ask, Ask::Restore(..))));
}

#[test]
fn a_held_list_does_not_move_and_counts_what_is_newer() {
    let mut bench = list();
    bench.press("j j j");
    let before = bench.screen();
    assert!(before.contains("PAUSED"));
    bench.wait(Duration::from_secs(1));
    bench.asks();
    bench.send(Message::Changes(Ok(changes(2))));
    bench.wait(Duration::from_secs(1));
    let mut newer = deliveries();
    newer.insert(0, delivery(99, "bank", "delivered", Some(200)));
    newer[0].id = format!("dlv_{:026}000", 100);
    for _ in 0..3 {
        for ask in bench.asks() {
            let got = match &ask {
                Ask::Deliveries { walk, .. } => {
                    let from = walk.from.clone().unwrap_or_default();
                    let mut rows: Vec<_> = newer.iter().filter(|one| one.id > from).cloned().collect();
                    rows.reverse();
                    Got::Deliveries(PageView { items: rows, cursor: None })
                }
                other => match super::fixture(other) {
                    Some(got) => got,
                    None => continue,
                },
            };
            bench.answer(ask, Ok(got));
        }
    }
    assert!(bench.screen().contains("PAUSED +1"), "{}", bench.screen());
    // Only what counts down is different.
    let rows = |screen: &str| -> Vec<String> {
        screen.lines().skip(4).take(18).map(|line| line.chars().take(70).collect()).collect()
    };
    assert_eq!(rows(&before), rows(&bench.screen()));
    bench.press("p").answer_all();
    assert!(bench.screen().contains("LIVE"));
}

#[test]
fn esc_clears_and_goes_back_and_never_quits() {
    let mut bench = list();
    bench.press("Space c 5").answer_all().press("Enter").answer_all();
    bench.press("Esc Esc Esc Esc Esc Esc").answer_all();
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Quit)));
    assert_eq!(bench.model.deliveries.filter, crate::admin::client::DeliveryFilter::default());
    bench.press("q");
    assert!(matches!(bench.effects.last(), Some(Effect::Quit)));
}

#[test]
fn a_reference_that_nothing_begins_with_is_looked_for_inside_payloads() {
    let mut bench = list();
    bench.press("/").type_text("Cornelius").press("Enter").answer_all();
    assert_eq!(bench.model.deliveries.filter.text.as_deref(), Some("Cornelius"));
    assert_eq!(bench.model.deliveries.filter.reference, None);
}

#[test]
fn read_only_refuses_every_action_that_changes_anything() {
    let map = Keymap::default();
    for context in [
        Context::Overview,
        Context::Webhooks,
        Context::Deliveries,
        Context::Events,
        Context::System,
        Context::Delivery,
        Context::Event,
    ] {
        for action in Keymap::offered(context).filter(|action| action.mutates()) {
            let Some(key) = map.keys(context, action).first() else { continue };
            let mut bench = Bench::new(80, 24);
            bench.model.read_only = true;
            let tab = match context {
                Context::Overview => "1",
                Context::Webhooks => "2",
                Context::Deliveries | Context::Delivery => "3",
                Context::Events | Context::Event => "4",
                _ => "5",
            };
            bench.press(tab).answer_all();
            if matches!(context, Context::Delivery | Context::Event) {
                bench.press("Enter").answer_all();
            }
            assert_eq!(bench.model.context(), context);
            bench.effects.clear();
            bench.send(Message::Key(*key));
            assert!(bench.asks().is_empty() && bench.model.dialogs.is_empty(), "{} in {context:?}", action.name());
            assert!(note(&bench).contains("read-only"), "{} in {context:?}: {}", action.name(), note(&bench));
        }
    }
}

#[test]
fn help_has_every_action_with_its_keys() {
    for (context, keys) in [
        (Context::Overview, "1"),
        (Context::Webhooks, "2"),
        (Context::Deliveries, "3"),
        (Context::Events, "4"),
        (Context::System, "5"),
        (Context::Delivery, "3 Enter"),
        (Context::Event, "4 Enter"),
        (Context::Viewer, "3 v"),
        (Context::Schema, "2 o"),
    ] {
        let mut bench = Bench::new(120, 200);
        for key in keys.split(' ') {
            bench.press(key).answer_all();
        }
        assert_eq!(bench.model.context(), context);
        bench.press("?");
        let help = bench.screen();
        for action in Keymap::offered(context) {
            for key in bench.model.keymap.keys(context, action) {
                let key = key.to_string();
                let told = help.lines().any(|line| line.split([' ', ',']).any(|word| word == key));
                assert!(told, "{key} ({}) is not in the help of {context:?}\n{help}", action.name());
            }
        }
    }
}

#[test]
fn nothing_to_wait_for_is_no_reason_to_wake() {
    let mut bench = Bench::new(80, 24);
    bench.press("5").answer_all();
    bench.wait(Duration::from_secs(2));
    bench.answer_all();
    assert_eq!(wake_in(&bench.model), None, "the system tab counts nothing down");
    // A retry that comes closer is counted, once a second.
    bench.press("3").answer_all();
    bench.wait(Duration::from_secs(2));
    bench.answer_all();
    assert!(wake_in(&bench.model).is_some_and(|pause| pause <= Duration::from_secs(1)));
}

#[test]
fn what_changes_often_is_asked_for_twice_a_second() {
    let mut bench = list();
    bench.wait(Duration::from_secs(1));
    bench.answer_all();
    let mut asked = 0;
    for revision in 2..102 {
        bench.send(Message::Changes(Ok(changes(revision))));
        let now = bench.model.now.plus(Duration::from_millis(10));
        bench.send_at(Message::Tick, now);
        let asks = bench.asks();
        asked += asks.iter().filter(|ask| matches!(ask, Ask::Deliveries { .. })).count();
        for ask in asks {
            if let Some(got) = super::fixture(&ask) {
                bench.answer(ask, Ok(got));
            }
        }
        asked += bench.asks().iter().filter(|ask| matches!(ask, Ask::Deliveries { .. })).count();
    }
    assert!((1..=6).contains(&asked), "{asked} times within a second");
}

#[test]
fn a_copy_says_what_was_sent_and_never_that_it_arrived() {
    let mut bench = list();
    bench.press("y");
    let copied = bench.effects.pop();
    assert!(matches!(copied, Some(Effect::Copy { text, .. }) if Some(&text) == deliveries()[0].scan_ref.as_ref()));
    bench.press("Y").answer_all();
    assert!(matches!(bench.effects.pop(), Some(Effect::Copy { text, .. }) if text.contains("monitoringId")));
    bench.press("C").answer_all();
    let Some(Effect::Copy { text, .. }) = bench.effects.pop() else { panic!("no command") };
    assert!(text.contains("curl") && text.contains("SECRET_AUTHORIZATION") && !text.contains('…'));
}

#[test]
fn every_action_has_words_that_fit_a_line() {
    for action in Action::ALL {
        assert!((2..=60).contains(&action.help().len()), "{}: {}", action.name(), action.help());
    }
}
