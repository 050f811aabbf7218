//! Whatever is pressed in the form: it never breaks, and never loses an edit without asking.

use proptest::prelude::*;

use super::bench;
use super::pictures::open;
use crate::tui::keys::{Code, Key};
use crate::tui::message::Message;
use crate::tui::tests::SIZES;

fn any_key() -> impl Strategy<Value = Key> {
    let named = ["Tab", "S-Tab", "Up", "Down", "Left", "Right", "Home", "End", "PgUp", "PgDn", "Enter", "Backspace"];
    let ctrl =
        ["Del", "Esc", "Space", "^N", "^D", "^K", "^G", "^R", "^X", "^_", "^S", "^T", "^O", "^U", "^W", "^A", "F1"];
    let names: Vec<&'static str> = named.into_iter().chain(ctrl).collect();
    prop_oneof![
        3 => proptest::sample::select(names).prop_map(|name| Key::parse(name).unwrap()),
        2 => proptest::char::any().prop_map(|c| Key::plain(Code::Char(c))),
        1 => proptest::sample::select(vec!['x', '7', '/', '"', ' ']).prop_map(Key::char),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is pressed, nothing breaks, and a form with changes does not go without an answer to a
    /// question, a save or the wish to drop them.
    #[test]
    fn no_keys_break_the_form_or_lose_an_edit(
        keys in proptest::collection::vec(any_key(), 1..120),
        size in proptest::sample::select(vec![SIZES[0], SIZES[1], SIZES[2], (1, 1), (61, 13)]),
        is_new: bool,
    ) {
        let mut bench = bench();
        if is_new {
            bench.press("n");
        } else {
            open(&mut bench);
        }
        bench.model.size = size;
        for key in keys {
            let edited = bench.model.pages.iter().any(|page| page.is_edited());
            let dialogs = bench.model.dialogs.len();
            bench.send(Message::Key(key));
            let _ = bench.screen();
            let is_there = bench.model.pages.iter().any(|page| page.is_edited());
            // Without a dialog nothing drops an edit but its undoing in the form, which stays.
            let form_is_there = bench.model.pages.iter().any(|page| page.context() == crate::tui::keymap::Context::Form);
            prop_assert!(!edited || is_there || form_is_there || dialogs > 0, "{key:?} lost an edit");
        }
    }
}
