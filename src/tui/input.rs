//! What the terminal sends: keys, pastes and sizes, as messages; and that it is gone.
//!
//! One thread waits for the terminal and for the program at once, so that nothing is polled, a gone
//! terminal ends the program at once, and an editor can have the terminal to itself. It knows no actions.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crossterm::event::{self, Event, MouseButton, MouseEventKind};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::keys::{Code, Key};
use super::message::Message;
use super::terminal::Screen;

/// What arrives from outside.
#[derive(Debug)]
pub(super) enum Outside {
    /// Something for `update`.
    Message(Message),
    /// The terminal is gone.
    Gone,
    /// A signal that ends the program.
    Signal(i32),
    /// The program was stopped and goes on.
    Continued,
    /// A thread of the program panicked.
    Fault,
}

/// Keys that come together, so many at least, were not typed one by one.
const BURST: usize = 6;

/// The thread that reads.
pub(super) struct Reader {
    commands: OwnedFd,
    answers: Receiver<()>,
}

const PAUSE: u8 = b'p';
const RESUME: u8 = b'r';

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// If standard input is no terminal, or there are no descriptors or threads left.
    pub(super) fn start(to: Sender<Outside>) -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Err(io::Error::other("standard input is not a terminal"));
        }
        let (theirs, commands) = rustix::pipe::pipe()?;
        let (answer, answers) = channel();
        thread::Builder::new().name("keys".to_owned()).spawn(move || read(&to, &theirs, &answer))?;
        Ok(Self { commands, answers })
    }

    /// Reads nothing until [`Self::resume`]: another program has the terminal.
    pub(super) fn pause(&self) {
        if rustix::io::write(&self.commands, &[PAUSE]).is_ok() {
            // A reader that ended does not answer, and reads nothing either.
            let _ = self.answers.recv_timeout(Duration::from_secs(1));
        }
    }

    /// Reads again.
    pub(super) fn resume(&self) {
        let _ = rustix::io::write(&self.commands, &[RESUME]);
    }
}

fn read(to: &Sender<Outside>, commands: &OwnedFd, answer: &Sender<()>) {
    let stdin = io::stdin();
    loop {
        let mut watched =
            [PollFd::new(&stdin, PollFlags::IN), PollFd::from_borrowed_fd(commands.as_fd(), PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return drop(to.send(Outside::Gone)),
        }
        let (terminal, command) = (watched[0].revents(), watched[1].revents());
        if !command.is_empty() {
            if !paused(commands, answer) {
                return;
            }
            continue;
        }
        if terminal.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return drop(to.send(Outside::Gone));
        }
        if terminal.contains(PollFlags::IN) {
            match arrived() {
                Ok(events) => {
                    for message in messages(&events) {
                        if to.send(Outside::Message(message)).is_err() {
                            return;
                        }
                    }
                }
                Err(_) => return drop(to.send(Outside::Gone)),
            }
        }
    }
}

/// Waits until it is to go on. `false` when the program is gone.
fn paused(commands: &OwnedFd, answer: &Sender<()>) -> bool {
    let mut command = [0];
    loop {
        match rustix::io::read(commands, &mut command) {
            Ok(0) | Err(_) => return false,
            Ok(_) if command[0] == PAUSE => drop(answer.send(())),
            Ok(_) => return true,
        }
    }
}

/// Longer than nothing, or the library does not look; and not so long that anybody notices.
const LOOK: Duration = Duration::from_millis(1);

/// Everything that is there.
fn arrived() -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    while event::poll(LOOK)? {
        events.push(event::read()?);
    }
    Ok(events)
}

/// What events mean. Characters that come all at once are a paste in a terminal that does not say so.
fn messages(events: &[Event]) -> Vec<Message> {
    let keys: Vec<Key> = events
        .iter()
        .filter_map(|event| match event {
            Event::Key(key) => Key::from_event(key),
            _ => None,
        })
        .collect();
    if keys.len() == events.len() && is_burst(&keys) {
        let character = |key: &Key| if key.code == Code::Enter { '\n' } else { key.typed().unwrap_or(' ') };
        return vec![Message::Paste(keys.iter().map(character).collect())];
    }
    events.iter().filter_map(message).collect()
}

/// A key that is held down repeats; text does not.
fn is_burst(keys: &[Key]) -> bool {
    // A line feed among them is read as ^J.
    let is_text = |key: &Key| key.typed().is_some() || key.code == Code::Enter || *key == Key::ctrl('j');
    keys.len() >= BURST && keys.iter().all(is_text) && keys.iter().any(|key| *key != keys[0])
}

fn message(event: &Event) -> Option<Message> {
    match event {
        Event::Key(key) => Key::from_event(key).map(Message::Key),
        Event::Paste(text) => Some(Message::Paste(text.clone())),
        Event::Resize(columns, rows) => Some(Message::Resize(*columns, *rows)),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollUp => Some(Message::Wheel(-3)),
            MouseEventKind::ScrollDown => Some(Message::Wheel(3)),
            MouseEventKind::Down(MouseButton::Left) => Some(Message::Click(mouse.column, mouse.row)),
            _ => None,
        },
        _ => None,
    }
}

/// Turns signals into what they mean. Ends with the program.
///
/// # Errors
/// If signals can not be watched.
pub(super) fn watch_signals(to: Sender<Outside>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGWINCH, SIGCONT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            let outside = match signal {
                SIGWINCH => match Screen::size() {
                    Ok((columns, rows)) => Outside::Message(Message::Resize(columns, rows)),
                    Err(_) => Outside::Gone,
                },
                SIGCONT => Outside::Continued,
                fatal if asked => {
                    // Whoever is stuck writing to a terminal that takes nothing ends all the same
                    // when it is asked a second time.
                    super::terminal::restore();
                    let _ = signal_hook::low_level::emulate_default_handler(fatal);
                    return;
                }
                fatal => {
                    asked = true;
                    Outside::Signal(fatal)
                }
            };
            if to.send(outside).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;

    fn typed(text: &str) -> Vec<Event> {
        let code = |c: char| if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
        text.chars().map(|c| Event::Key(KeyEvent::new(code(c), KeyModifiers::NONE))).collect()
    }

    #[test]
    fn text_that_comes_at_once_is_a_paste_and_a_held_key_is_not() {
        assert!(matches!(&messages(&typed("rm -rf\n"))[..], [Message::Paste(text)] if text == "rm -rf\n"));
        assert_eq!(messages(&typed("jjjjjjjjjj")).len(), 10);
        assert_eq!(messages(&typed(":q\n")).len(), 3);
    }
}
