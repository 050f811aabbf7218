//! The page of all keys, `docs/keys.md`, is made from the keymap, so that it can not be wrong about them.
//!
//! It judges nothing about the keys themselves: that none has two meanings is a test beside the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use postrider::tui::keymap::{Action, Context, Keymap};

/// Places where single letters are keys.
fn places() -> impl Iterator<Item = Context> {
    Context::ALL.into_iter().filter(|context| *context != Context::Form)
}

fn keys(map: &Keymap, context: Context, action: Action) -> String {
    let keys: Vec<String> = map.keys(context, action).iter().map(|key| format!("`{key}`")).collect();
    if keys.is_empty() { format!("`:{}`", action.name()) } else { keys.join(" ") }
}

/// A table of actions with the keys that they have in one place.
fn table(page: &mut String, map: &Keymap, context: Context, actions: impl Iterator<Item = Action>) {
    page.push_str("| key | what it does | name |\n| --- | --- | --- |\n");
    for action in actions {
        let keys = keys(map, context, action);
        writeln!(page, "| {keys} | {} | `{}` |", action.help(), action.name()).unwrap();
    }
}

fn page() -> String {
    let map = Keymap::default();
    let mut page = String::from(
        "# Keys of the terminal UI\n\n\
         Made from the table in the program (`UPDATE=1 cargo test --test it keys`); `?` shows the same for where you are.\n\
         Outside the form every action is also a command: `:` and its name. In `tui.toml` a line `KEY = \"NAME\"` in `[keys.PLACE]`, or in\n\
         `[keys.everywhere]`, gives it a key; `\"none\"` takes a key's meaning away. The form takes no letters, since they are typed.\n\
         `^S` is Ctrl-S, `S-Tab` Shift-Tab.\n",
    );
    let common: BTreeSet<Action> = Action::ALL
        .iter()
        .copied()
        .filter(|action| {
            let first = map.keys(Context::Overview, *action);
            !first.is_empty() && places().all(|context| map.keys(context, *action) == first)
        })
        .collect();
    page.push_str("\n## Everywhere but in the form\n\n");
    table(&mut page, &map, Context::Overview, common.iter().copied());
    for context in Context::ALL {
        write!(page, "\n## `{}`\n\n", context.as_str()).unwrap();
        let own = Keymap::offered(context).filter(|action| context == Context::Form || !common.contains(action));
        table(&mut page, &map, context, own);
    }
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's knob, read where it is used")]
fn the_page_of_keys_is_what_the_keymap_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == page(), "docs/keys.md is out of date; run: UPDATE=1 cargo test --test it keys");
}
