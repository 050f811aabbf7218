//! Every size, any keys in any order, and text that means harm: nothing breaks, nothing is lost without
//! asking, and nothing raw is drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Bench, delivery, fixture, webhooks};
use crate::admin::protocol::PageView;
use crate::domain::text::misleads;
use crate::tui::keymap::{Context, Keymap};
use crate::tui::keys::Key;
use crate::tui::message::{Ask, Effect, Got, Message, Refused, Trouble};
use crate::tui::view::view;

/// Keys that lead to every screen and dialog.
const WAYS: [&str; 30] = [
    "1",
    "2",
    "2 j",
    "2 d",
    "2 n",
    "2 Enter",
    "2 t",
    "2 c",
    "2 /",
    "2 o",
    "3",
    "3 j Enter",
    "3 j Enter i",
    "3 v",
    "3 c",
    "3 f",
    "3 R",
    "3 R y",
    "3 Space R",
    "3 x",
    "3 w l l",
    "4",
    "4 Enter",
    "4 f",
    "5",
    "5 V",
    "5 n",
    "3 ?",
    "3 :",
    "5 Tab Tab",
];

fn at(keys: &str) -> Bench {
    let mut bench = Bench::new(120, 40);
    for key in keys.split(' ') {
        bench.press(key).answer_all();
    }
    bench
}

#[test]
fn every_screen_is_drawn_at_every_size() {
    for way in WAYS {
        let mut bench = at(way);
        // Every third of all sizes, each time another third, and all that are small.
        let offset = way.len() as u16;
        for columns in 1..=130u16 {
            for rows in 1..=45u16 {
                if columns > 12 && rows > 4 && !(columns * 7 + rows * 3 + offset).is_multiple_of(11) {
                    continue;
                }
                bench.model.size = (columns, rows);
                let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
                view(&bench.model, &mut buffer);
                assert_eq!(buffer.area, Rect::new(0, 0, columns, rows), "{way} at {columns}x{rows}");
            }
        }
    }
}

#[test]
fn a_small_terminal_says_so_and_can_be_left() {
    let mut bench = Bench::new(48, 10);
    assert!(bench.screen().contains("need 60x12, have 48x10"), "{}", bench.screen());
    bench.press("2 d q");
    assert!(bench.model.dialogs.is_empty(), "nothing that is not seen is done");
    assert!(matches!(bench.effects.last(), Some(Effect::Quit)));
    let mut bench = Bench::new(48, 10);
    bench.press(":").type_text("q").press("Enter");
    assert!(matches!(bench.effects.last(), Some(Effect::Quit)));
}

/// A generator that is the same everywhere: what fails is found again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[test]
fn a_monkey_breaks_nothing() {
    let map = Keymap::default();
    let mut keys: Vec<Key> = (' '..='~').map(Key::char).collect();
    for context in Context::ALL {
        keys.extend(Keymap::offered(context).flat_map(|action| map.keys(context, action).to_vec()));
    }
    let texts = ["", "q\nd\n", "\u{1b}[2J\u{202e}", "日本語 text", "https://x.example/\u{0}"];
    for seed in 1..=8 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.rotate_left(seed) | 1);
        let mut bench = Bench::new(80, 24);
        for step in 0..1_000 {
            match dice.roll(40) {
                0 => bench.send(Message::Paste(texts[dice.roll(texts.len())].to_owned())),
                1 => bench.send(Message::Resize(1 + dice.roll(140) as u16, 1 + dice.roll(50) as u16)),
                2 => bench.wait(std::time::Duration::from_millis(dice.roll(3_000) as u64)),
                3 => bench.send(Message::Wheel(dice.roll(9) as i32 - 4)),
                4 => bench.send(Message::Click(dice.roll(140) as u16, dice.roll(50) as u16)),
                5 => bench.send(Message::Changes(Ok(super::changes(step)))),
                6 => bench.send(Message::Changes(Err(Trouble::Unreachable("gone".to_owned())))),
                7..=12 => answer_some(&mut bench, &mut dice),
                _ => bench.send(Message::Key(keys[dice.roll(keys.len())])),
            }
            let screen = bench.screen();
            assert!(!screen.chars().any(|c| c != '\n' && misleads(c)), "seed {seed}, step {step}");
        }
    }
}

fn answer_some(bench: &mut Bench, dice: &mut Dice) {
    for ask in bench.asks() {
        let refusal =
            || Trouble::Refused(Box::new(Refused { status: 422, detail: "no".to_owned(), ..Refused::default() }));
        match (dice.roll(6), fixture(&ask)) {
            (0, _) => bench.answer(ask, Err(refusal())),
            (1, _) => bench.answer(ask, Err(Trouble::Unreachable("gone".to_owned()))),
            (_, Some(got)) => bench.answer(ask, Ok(got)),
            (_, None) => bench.answer(ask, Ok(Got::Nothing)),
        }
    }
    bench.effects.clear();
}

#[test]
fn hostile_text_is_never_drawn_raw() {
    let hostile = "x\u{1b}]52;c;aGk=\u{7}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{85}y";
    for (columns, rows) in super::SIZES {
        let mut bench = Bench::new(columns, rows);
        let mut hooks = webhooks();
        for hook in &mut hooks {
            hook.name = hostile.to_owned();
            hook.url = format!("https://{hostile}/");
            hook.updated_by = hostile.to_owned();
            hook.headers.iter_mut().for_each(|header| {
                header.name = hostile.to_owned();
                header.value = Some(hostile.to_owned());
            });
        }
        bench.answer(Ask::Webhooks, Ok(Got::Webhooks(hooks)));
        let mut one = delivery(99, "aml-watch", "failed", Some(503));
        one.scan_ref = Some(hostile.to_owned());
        one.webhook_name = hostile.to_owned();
        one.references = vec![hostile.to_owned()];
        one.url = hostile.to_owned();
        bench.press("3");
        for ask in bench.asks() {
            let got = match &ask {
                Ask::Deliveries { .. } => Got::Deliveries(PageView { items: vec![one.clone()], cursor: None }),
                _ => continue,
            };
            bench.answer(ask, Ok(got));
        }
        let mut screens = vec![bench.screen()];
        for keys in ["Enter", "i", "Esc", "v", "Esc", "2", "Enter", "Esc", "d"] {
            bench.press(keys);
            for ask in bench.asks() {
                let got = match &ask {
                    Ask::Payload(_) => {
                        let bytes = format!("{{\"{hostile}\":\"{hostile}\"}}").into_bytes();
                        Got::Payload { content_type: hostile.to_owned(), bytes }
                    }
                    _ => continue,
                };
                bench.answer(ask, Ok(got));
            }
            screens.push(bench.screen());
        }
        for screen in screens {
            assert!(!screen.chars().any(|c| c != '\n' && misleads(c)), "{screen:?}");
        }
    }
}
