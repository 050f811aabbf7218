//! The form driven by keys and answers: what is asked of the daemon, and what is never lost or shown.

mod any_keys;
mod pictures;

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::protocol::{RevealView, WebhookView};
use crate::tui::message::{Ask, EditFor, Effect, Got, Message, Refused, Trouble};
use crate::tui::tests::{Bench, webhooks};
use pictures::{open, tab_to, tested};

fn bench() -> Bench {
    let mut bench = Bench::new(80, 24);
    bench.press("2").answer_all();
    bench
}

fn form() -> Bench {
    let mut bench = bench();
    open(&mut bench);
    bench
}

fn new_form() -> Bench {
    let mut bench = bench();
    bench.press("n").answer_all();
    bench
}

/// The question of this kind, with its document.
fn asked(bench: &mut Bench, kind: &str) -> (Ask, Value) {
    let asks = bench.asks();
    for ask in asks {
        let document = match (&ask, kind) {
            (Ask::Create(document), "create") => (**document).clone(),
            (Ask::Change(id, document), "change") if id == "wh_1" => (**document).clone(),
            (Ask::RotateKey(id, document), "rotate") if id == "wh_1" => (**document).clone(),
            (Ask::Test(_, test, _), "test") => test.webhook.clone().unwrap_or(Value::Null),
            (Ask::Reveal(_, field), "reveal") => json!(field),
            _ => continue,
        };
        return (ask, document);
    }
    panic!("nothing of the kind {kind} was asked\n{}", bench.screen());
}

fn saved(change: impl FnOnce(&mut WebhookView)) -> Result<Got, Trouble> {
    let mut hook = webhooks()[0].clone();
    hook.version = 4;
    change(&mut hook);
    Ok(Got::Webhook(Box::new(hook)))
}

fn note(bench: &Bench) -> String {
    bench.model.note.as_ref().map_or(String::new(), |note| note.text.clone())
}

fn refused(status: u16, fields: &[(&str, &str)]) -> Result<Got, Trouble> {
    let fields = fields.iter().map(|(field, why)| ((*field).to_owned(), (*why).to_owned())).collect();
    Err(Trouble::Refused(Box::new(Refused { status, detail: "no".to_owned(), fields, current: None })))
}

#[test]
fn a_new_webhook_is_made_with_what_was_typed_and_nothing_else() {
    let mut bench = new_form();
    bench.type_text("orders").press("Enter").type_text("https://erp.example.com/in").press("Enter");
    bench.type_text("sos").press("Enter");
    tab_to(&mut bench, "Headers");
    bench.press("Space").type_text("X-Api-Key").press("Enter").type_text("hunter2");
    tab_to(&mut bench, "Failed email");
    bench.type_text("a@example.com, b@example.com");
    assert!(bench.asks().iter().all(|ask| !matches!(ask, Ask::Create(_))), "Enter never saves");
    bench.press("^S");
    let (ask, document) = asked(&mut bench, "create");
    assert_eq!(
        document,
        json!({
            "name": "orders", "url": "https://erp.example.com/in", "event_types": ["SOS_REPORT"],
            "headers": [{"name": "X-Api-Key", "secret": true, "value": "hunter2"}],
            "failure_email": {"to": ["a@example.com", "b@example.com"], "include_body": false},
        })
    );
    bench.answer(ask, saved(|hook| hook.name = "orders".to_owned()));
    assert!(bench.model.pages.is_empty(), "it closes");
    assert!(note(&bench).starts_with("orders made"), "{}", note(&bench));
}

#[test]
fn an_edit_sends_only_what_changed_and_can_be_taken_back() {
    let mut bench = form();
    tab_to(&mut bench, "Retry count");
    bench.press("Backspace").type_text("9").press("^S");
    let (ask, document) = asked(&mut bench, "change");
    assert_eq!(document, json!({"retry": {"count": 9}, "version": 3}));
    bench.answer(ask, saved(|hook| hook.retry.count = 9));
    assert!(bench.model.pages.is_empty());
    assert!(note(&bench).contains("37 waiting deliveries go by what was saved"), "{}", note(&bench));
    bench.press("u");
    let (ask, document) = asked(&mut bench, "change");
    assert_eq!(document, json!({"retry": {"count": 7, "interval_seconds": 90, "backoff": "fixed"}, "version": 4}));
    bench.answer(ask, saved(|_| ()));
    assert_eq!(note(&bench), "aml-watch is as it was before");
}

#[test]
fn nothing_changed_is_nothing_sent() {
    let mut bench = form();
    bench.press("^S");
    assert!(bench.asks().iter().all(|ask| !matches!(ask, Ask::Change(..))));
    assert!(bench.model.pages.is_empty());
    let mut bench = form();
    bench.press("Tab Tab Esc");
    assert!(bench.model.pages.is_empty() && bench.model.dialogs.is_empty(), "it was only looked at");
}

#[test]
fn secrets_are_kept_replaced_and_cleared() {
    let mut bench = form();
    tab_to(&mut bench, "Token");
    bench.press("Tab").press("Backspace");
    bench.press("S-Tab").type_text("new").press("^S");
    let (_, document) = asked(&mut bench, "change");
    let endpoint = "https://auth.example.net/token";
    assert_eq!(document["oauth"], json!({"endpoint": endpoint, "token": "new", "request": null}));
    // A kept header stays under its name; with another it has to be typed.
    let mut bench = form();
    tab_to(&mut bench, "Header name");
    bench.press("^D").press("^S");
    let (_, document) = asked(&mut bench, "change");
    assert_eq!(document["headers"], json!([{"name": "X-Api-Key", "secret": true}]));
    let mut bench = form();
    tab_to(&mut bench, "Header name");
    bench.press("Down").type_text("2").press("^S");
    assert!(note(&bench).contains("typed again"), "{}", note(&bench));
}

#[test]
fn a_replaced_key_goes_the_way_that_keeps_the_old_one() {
    let mut bench = form();
    bench.press("^G");
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::NewKey)));
    let chance = [7; 32];
    bench.send(Message::NewKey(crate::domain::signature::SigningKey::of_chance(&chance)));
    assert!(bench.screen().contains("signs as well for 24 hours"), "{}", bench.screen());
    tab_to(&mut bench, "Retry count");
    bench.press("Backspace").type_text("9").press("^S");
    let (ask, document) = asked(&mut bench, "change");
    assert_eq!(document, json!({"retry": {"count": 9}, "version": 3}), "the key goes by itself");
    bench.answer(ask, saved(|hook| hook.retry.count = 9));
    let (ask, document) = asked(&mut bench, "rotate");
    assert_eq!(document, json!({"signing_key": "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}));
    bench.answer(ask, refused(422, &[("signing_key", "is bad")]));
    assert!(bench.screen().contains("is bad"), "what was typed is still there");
    bench.press("^S");
    let (ask, _) = asked(&mut bench, "rotate");
    bench.answer(ask, saved(|_| ()));
    assert!(bench.model.pages.is_empty());
    assert!(note(&bench).contains("old key signs as well"), "{}", note(&bench));
    assert!(bench.model.undo.is_none(), "nobody has the old key any more");
    // A key that leaked is replaced at once.
    let mut bench = form();
    tab_to(&mut bench, "Signing key");
    bench.type_text("k").press("Tab Space ^S");
    assert_eq!(asked(&mut bench, "change").1, json!({"signing_key": "k", "version": 3}));
}

#[test]
fn what_is_wrong_is_told_on_leaving_and_keeps_it_from_being_saved() {
    let mut bench = new_form();
    bench.type_text("a/b");
    assert!(!bench.screen().contains("may not hold"), "not while it is typed");
    bench.press("Tab");
    assert!(bench.screen().contains("may not hold \"/\""), "{}", bench.screen());
    bench.press("S-Tab Backspace Backspace");
    assert!(!bench.screen().contains("may not hold"));
    bench.press("^S");
    assert!(bench.asks().iter().all(|ask| !matches!(ask, Ask::Create(_))));
    assert!(note(&bench).starts_with("Receiver (URL)"), "the first that is wrong: {}", note(&bench));
    bench.type_text("https://x.example/");
    assert!(bench.screen().contains("https://x.example/"), "it has the focus");
}

#[test]
fn what_the_daemon_finds_wrong_is_told_where_it_was_typed() {
    let mut bench = form();
    bench.type_text("2").press("^S");
    let (ask, _) = asked(&mut bench, "change");
    bench.answer(ask, refused(422, &[("oauth.endpoint", "may not be dialled"), ("retry.count", "too many")]));
    assert!(bench.screen().contains("! may not be dialled"), "{}", bench.screen());
    assert_eq!(bench.model.pages.len(), 1);
    // The name is taken: that comes without a field.
    bench.press("^S");
    let (ask, _) = asked(&mut bench, "change");
    bench.answer(ask, refused(409, &[]));
    assert!(note(&bench).starts_with("not saved: Name"), "{}", note(&bench));
}

#[test]
fn two_people_meet_field_by_field() {
    let conflict = |theirs: &WebhookView| {
        let refused = Refused { status: 409, current: Some(Box::new(theirs.clone())), ..Refused::default() };
        Err(Trouble::Refused(Box::new(refused)))
    };
    let mut theirs = webhooks()[0].clone();
    (theirs.version, theirs.updated_by) = (4, "bob".to_owned());
    (theirs.retry.count, theirs.timeout_seconds) = (3, 30);
    let start = || {
        let mut bench = form();
        tab_to(&mut bench, "Retry count");
        bench.press("Backspace").type_text("9").press("^S");
        let (ask, _) = asked(&mut bench, "change");
        bench.answer(ask, conflict(&theirs));
        bench
    };
    let mut bench = start();
    bench.press("Enter");
    assert_eq!((bench.model.dialogs.len(), bench.model.pages.len()), (0, 1), "it begins on Back");
    let mut bench = start();
    bench.press("Tab Enter");
    let (_, document) = asked(&mut bench, "change");
    assert_eq!(document, json!({"retry": {"count": 9}, "version": 4}), "theirs is kept where only they changed");
    let mut bench = start();
    bench.press("Tab Tab Enter Esc");
    assert!(bench.model.pages.is_empty(), "with theirs nothing is unsaved");
}

#[test]
fn leaving_asks_and_begins_on_staying() {
    let mut bench = form();
    bench.type_text("2").press("Esc Enter");
    assert_eq!((bench.model.dialogs.len(), bench.model.pages.len()), (0, 1));
    bench.press("Esc Esc");
    assert_eq!(bench.model.pages.len(), 1);
    bench.press("Esc Tab Enter");
    let (ask, document) = asked(&mut bench, "change");
    assert_eq!(document["name"], "aml-watch2");
    bench.press("Esc");
    assert_eq!((bench.model.dialogs.len(), bench.model.pages.len()), (0, 1), "not before the answer");
    bench.answer(ask, refused(422, &[]));
    bench.press("Esc Tab Tab Enter");
    assert!(bench.model.pages.is_empty());
    // The program asks as well.
    let mut bench = form();
    bench.type_text("2").press("^C");
    assert!(bench.effects.iter().all(|effect| !matches!(effect, Effect::Quit)));
}

#[test]
fn without_a_connection_nothing_typed_is_lost() {
    let mut bench = form();
    bench.type_text("2");
    bench.lose().press("^S");
    assert!(note(&bench).contains("does not answer"), "{}", note(&bench));
    assert!(bench.screen().contains("aml-watch2"));
    bench.send(Message::Changes(Ok(crate::tui::tests::changes(2))));
    bench.press("^S");
    let (ask, _) = asked(&mut bench, "change");
    bench.answer(ask, Err(Trouble::Unreachable("gone".to_owned())));
    assert!(note(&bench).contains("nothing typed is lost"), "{}", note(&bench));
    assert!(bench.screen().contains("aml-watch2"));
}

#[test]
fn read_only_looks_and_changes_nothing() {
    let mut bench = bench();
    bench.model.read_only = true;
    open(&mut bench);
    let before = bench.screen();
    for keys in ["x", "Backspace", "^N", "^D", "^K", "^G", "^R", "^S", "^T", "^X", "Tab Tab Space", "Tab Space", "^_"] {
        bench.press(keys);
        assert!(note(&bench).starts_with("read-only"), "{keys}: {}", note(&bench));
    }
    bench.send(Message::Paste("x".to_owned()));
    assert!(bench.effects.iter().all(|effect| !matches!(effect, Effect::Edit { .. } | Effect::NewKey)));
    assert!(!before.contains("[ Save ]") && before.contains("[ Leave ]"));
    assert_eq!(bench.asks().len(), 0);
    bench.press("Esc");
    assert!(bench.model.pages.is_empty());
}

#[test]
fn a_change_in_the_form_is_taken_back_as_it_was_made() {
    let mut bench = form();
    bench.type_text("xyz").press("Tab").type_text("!");
    bench.press("^_");
    assert!(!bench.screen().contains("aml!") && bench.screen().contains("aml-watchxyz"), "{}", bench.screen());
    bench.press("^_");
    assert!(!bench.screen().contains("xyz"), "a run of letters is one change");
    bench.press("^_");
    assert_eq!(note(&bench), "there is nothing to take back");
    tab_to(&mut bench, "Header name");
    bench.press("^D");
    assert!(!bench.screen().contains("X-Env"));
    bench.press("^_");
    assert!(bench.screen().contains("X-Env"));
}

#[test]
fn a_secret_is_shown_for_a_while_when_it_is_asked_for() {
    let mut bench = form();
    tab_to(&mut bench, "Signing key");
    bench.press("^R");
    let (ask, field) = asked(&mut bench, "reveal");
    assert_eq!(field, "signing_key");
    let reveal = RevealView { field: "signing_key".to_owned(), value: "hunter2".to_owned() };
    bench.answer(ask, Ok(Got::Secret(reveal)));
    assert!(bench.screen().contains("hunter2"));
    assert!(crate::tui::update::wake_in(&bench.model).is_some_and(|wait| wait <= Duration::from_secs(1)));
    bench.wait(Duration::from_secs(9));
    assert!(bench.screen().contains("hunter2"));
    bench.wait(Duration::from_secs(2));
    assert!(!bench.screen().contains("hunter2"));
    tab_to(&mut bench, "Header name");
    bench.press("Down ^R");
    assert_eq!(asked(&mut bench, "reveal").1, "headers.X-Api-Key");
}

#[test]
fn the_editor_and_pasted_text_go_into_the_field() {
    let mut bench = form();
    tab_to(&mut bench, "Request");
    bench.press("^X");
    let edit = bench.effects.pop().unwrap();
    assert!(matches!(&edit, Effect::Edit { text, .. } if text.is_empty()), "a kept secret is not known here");
    bench.send(Message::Edited(EditFor::Field, Ok("{\"a\":\n 1}\n".to_owned())));
    tab_to(&mut bench, "CA");
    bench.send(Message::Paste("-----BEGIN CERTIFICATE----- AAAA BBBB -----END CERTIFICATE-----".to_owned()));
    assert!(bench.screen().contains("1 PEM block"), "{}", bench.screen());
    bench.press("^S");
    let (_, document) = asked(&mut bench, "change");
    assert_eq!(document["oauth"]["request"], "{\"a\":\n 1}");
    assert_eq!(document["tls"]["ca"], "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n");
}

#[test]
fn conditions_and_limits_are_sent_as_the_daemon_takes_them() {
    let mut bench = form();
    tab_to(&mut bench, "Backoff");
    bench.press("Space");
    tab_to(&mut bench, "Per second");
    bench.type_text("50").press("Tab Space");
    tab_to(&mut bench, "Conditions");
    bench.press("Space").type_text("/final").press("Tab Tab").type_text("true").press("^N");
    bench.type_text("/status").press("Tab Right Tab").type_text("[\"A\"]").press("^N");
    bench.type_text("/gone").press("Tab Left").press("^S");
    let (_, document) = asked(&mut bench, "change");
    assert_eq!(
        document,
        json!({
            "retry": {"backoff": "exponential", "max_interval_seconds": 3600}, "rate_per_second": 50, "ordered": true,
            "filter": [
                {"path": "/final", "equals": true}, {"path": "/status", "in": ["A"]}, {"path": "/gone", "exists": false},
            ],
            "version": 3,
        })
    );
    let mut bench = form();
    tab_to(&mut bench, "Conditions");
    bench.press("Space").type_text("/status").press("Tab Tab").type_text("APPROVED").press("^S");
    assert!(note(&bench).contains("a text stands in quotes: \"APPROVED\""), "{}", note(&bench));
}

#[test]
fn several_event_types_are_chosen_in_the_picker() {
    let mut bench = form();
    tab_to(&mut bench, "Event type");
    bench.type_text("sos").press("Space Enter ^S");
    assert_eq!(asked(&mut bench, "change").1["event_types"], json!(["AML_MONITORING", "SOS_REPORT"]));
    let mut bench = form();
    tab_to(&mut bench, "Event type");
    bench.press("Space Esc");
    assert_eq!(bench.model.pages[0].title(), "aml-watch");
    bench.press("Space Up Up Up Up Up Up Up Up Up Up Up Up Up Enter ^S");
    assert_eq!(asked(&mut bench, "change").1["event_types"], json!(["*"]));
    let mut bench = form();
    tab_to(&mut bench, "Event type");
    bench.type_text("order_paid").press("Up").press("Enter ^S");
    assert_eq!(asked(&mut bench, "change").1["event_types"], json!(["ORDER_PAID"]));
}

#[test]
fn a_test_uses_what_is_typed_and_its_answer_goes_nowhere_else() {
    let mut bench = form();
    tab_to(&mut bench, "Token");
    bench.type_text("hunter2").press("^T");
    let (first, document) = asked(&mut bench, "test");
    assert_eq!(document, json!({"oauth": {"endpoint": "https://auth.example.net/token", "token": "hunter2"}}));
    bench.press("Esc ^T");
    let (second, _) = asked(&mut bench, "test");
    bench.answer(first, Ok(Got::Tested(Box::new(tested(401)))));
    assert!(bench.screen().contains("testing"), "a late answer is not this one's");
    bench.answer(second, Ok(Got::Tested(Box::new(tested(200)))));
    assert!(bench.screen().contains("200 "), "{}", bench.screen());
    bench.press("t");
    let (again, _) = asked(&mut bench, "test");
    bench.press("Esc");
    bench.answer(again, Ok(Got::Tested(Box::new(tested(401)))));
    assert!(bench.model.dialogs.is_empty() && !bench.screen().contains("401"), "nothing pops up");
    let mut bench = new_form();
    bench.press("Tab").type_text("https://x.example/").press("Tab").type_text("sos").press("Enter").press("^T");
    let (ask, document) = asked(&mut bench, "test");
    assert!(matches!(ask, Ask::Test(None, ..)), "a name is not needed for a test");
    assert_eq!(document["url"], "https://x.example/");
}

#[test]
fn a_test_shows_its_request_and_copies_it() {
    let mut bench = form();
    bench.press("^T");
    let (ask, _) = asked(&mut bench, "test");
    bench.answer(ask, Ok(Got::Tested(Box::new(tested(401)))));
    bench.press("C");
    let Some(Effect::Copy { text, .. }) = bench.effects.pop() else { panic!("nothing was copied") };
    assert!(text.starts_with("postrider event example AML_MONITORING |"), "{text}");
    assert!(text.contains("curl"), "{text}");
    bench.press("v");
    assert!(bench.screen().contains("POST https://risk.example.net/aml"), "{}", bench.screen());
    bench.press("Esc");
    assert!(bench.screen().contains("[ Save ]"), "back in the form: {}", bench.screen());
}

#[test]
fn schemas_of_several_types_are_gone_through() {
    let mut bench = bench();
    bench.model.webhooks.list.selected = Some("wh_6".to_owned());
    bench.press("o");
    let asks = bench.asks();
    assert!(
        matches!(&asks[..], [Ask::TypeSchema(name)] if name == "ID_VERIFICATION_MANUAL_FINISHED"),
        "only what is seen"
    );
    bench.press("J");
    let asks = bench.asks();
    assert!(matches!(&asks[..], [Ask::TypeSchema(name)] if name == "SOS_REPORT"));
    bench.press("x");
    assert!(matches!(&bench.asks()[..], [Ask::TypeExample(name)] if name == "SOS_REPORT"));
    bench.press("y");
    assert_eq!(note(&bench), "there is no example here");
    bench.press("Esc");
    // Of every event, one has to be chosen.
    if let Some(hooks) = &mut bench.model.hooks {
        hooks[5].event_types = vec!["*".to_owned()];
    }
    bench.press("o").type_text("sos").press("Enter");
    assert!(bench.asks().iter().any(|ask| matches!(ask, Ask::TypeSchema(name) if name == "SOS_REPORT")));
}

#[test]
fn an_untouched_form_follows_and_one_that_was_changed_says_so() {
    let mut bench = form();
    let mut hooks = webhooks();
    (hooks[0].version, hooks[0].url) = (4, "https://other.example/".to_owned());
    bench.answer(Ask::Webhooks, Ok(Got::Webhooks(hooks.clone())));
    assert!(bench.screen().contains("https://other.example/"));
    bench.type_text("2");
    (hooks[0].version, hooks[0].updated_by) = (5, "bob".to_owned());
    bench.answer(Ask::Webhooks, Ok(Got::Webhooks(hooks)));
    assert!(bench.screen().contains("changed by bob") && bench.screen().contains("aml-watch2"));
}

#[test]
fn a_text_from_the_editor_is_never_lost() {
    let mut bench = bench();
    let purpose = EditFor::Webhook { id: "wh_1".to_owned(), version: 3 };
    let wrong = "url = x".to_owned();
    bench.send(Message::Edited(purpose.clone(), Ok(wrong.clone())));
    bench.press("Enter");
    assert!(matches!(bench.effects.pop(), Some(Effect::Edit { text, .. }) if text == wrong));
    let text = format!("{}\nsigning_key = \"k\"\n", "url = \"https://y.example/\"");
    bench.send(Message::Edited(purpose, Ok(text.clone())));
    let (ask, document) = asked(&mut bench, "change");
    assert_eq!((&document["url"], &document["version"]), (&json!("https://y.example/"), &json!(3)));
    bench.press("Esc");
    bench.answer(ask, refused(422, &[("url", "may not be dialled")]));
    assert!(bench.screen().contains("url may not be dialled"), "{}", bench.screen());
    bench.press("Esc");
    assert_eq!(bench.model.dialogs.len(), 1, "Esc alone loses nothing");
    bench.press("Tab Enter");
    assert!(matches!(bench.effects.pop(), Some(Effect::Edit { text: kept, .. }) if kept == text));
}

#[test]
fn what_is_typed_as_a_secret_is_in_no_debug_print() {
    let mut bench = form();
    tab_to(&mut bench, "Token");
    bench.type_text("hunter2");
    assert!(!bench.screen().contains("hunter2") && bench.screen().contains("*******  "), "{}", bench.screen());
    bench.press("^X");
    bench.press("^T");
    assert!(!format!("{:?}", bench.effects).contains("hunter2"));
    let paste = Message::Paste("hunter2".to_owned());
    let edited = Message::Edited(EditFor::Field, Ok("hunter2".to_owned()));
    assert!(!format!("{paste:?}{edited:?}").contains("hunter2"));
}
