//! The terminal UI: a client of the admin socket, and nothing more.
//!
//! ```text
//! keys, answers, time ──Message──▶ update ──▶ model ──▶ view ──▶ terminal
//!                                    └──Effect──▶ shell ──▶ admin::client, editor, clipboard
//! ```
//!
//! `update` is the only place where the model changes, and is pure; `view` reads only the model; the
//! `shell` performs what is wanted outside. It holds no rules about deliveries, opens no store, and can
//! do nothing that the socket does not offer. Invariant: however it ends, the terminal is given back.

pub mod dialog;
mod input;
pub mod keymap;
pub mod keys;
pub mod listing;
pub mod message;
pub mod model;
mod outside;
pub mod palette;
pub mod screen;
pub mod settings;
mod shell;
mod terminal;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;
pub mod window;

use std::ffi::OsString;
use std::io;
use std::panic;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use jiff::tz::TimeZone;

use self::input::{Outside, Reader};
use self::message::{Effect, Message};
use self::model::Model;
use self::screen::webhooks::Sort;
use self::settings::Settings;
use self::shell::Shell;
use self::terminal::{Screen, restore};
use crate::admin::client::Caller;
use crate::clock::Clock;
use crate::domain::signature::SigningKey;
use crate::random::Random;

/// What the UI is started with.
#[derive(Debug)]
pub struct Options {
    /// Sockets on which the daemon may be, in order.
    pub sockets: Vec<PathBuf>,
    /// `$SUDO_USER`, for the audit log.
    pub sudo_user: Option<String>,
    /// Nothing may be changed, and the daemon sees to that.
    pub read_only: bool,
    /// What the user wants.
    pub settings: Settings,
    /// Where it is kept how lists are sorted; `None`: nowhere.
    pub state_file: Option<PathBuf>,
    /// Name of this machine.
    pub host: String,
    /// The local time zone.
    pub zone: TimeZone,
    /// The editor to open, as a command for a shell.
    pub editor: OsString,
    /// The pager to open, likewise.
    pub pager: OsString,
    /// Where texts that are being edited lie.
    pub scratch: PathBuf,
    /// The directory that files are written in.
    pub directory: PathBuf,
    /// It ends by itself after this long.
    pub time: Option<Duration>,
    /// The program runs in tmux, which has a clipboard of its own.
    pub tmux: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user left.
    Quit,
    /// A signal asked it to.
    Signal(i32),
    /// The terminal is gone.
    Gone,
    /// A fault in the program; where it is was said on standard error.
    Fault,
}

/// Runs until the user leaves, a signal comes, or the terminal is gone.
///
/// # Errors
/// If there is no terminal, or it can not be taken over.
pub fn run(options: Options) -> io::Result<Ended> {
    let (to, arrivals) = channel();
    let (before, told) = (panic::take_hook(), to.clone());
    panic::set_hook(Box::new(move |why| {
        restore();
        before(why);
        // Whichever thread it was: without it the UI is not whole, and it must not draw on.
        let _ = told.send(Outside::Fault);
    }));
    let ended = Program::start(options, to, arrivals).and_then(|mut program| program.run());
    // The hook stays: it does nothing but give back a terminal that is given back already.
    restore();
    ended
}

struct Program {
    model: Model,
    screen: Screen,
    reader: Reader,
    shell: Shell,
    arrivals: Receiver<Outside>,
    clock: Clock,
    outside: outside::Programs,
    /// When it ends by itself, on the clock that never steps.
    ends_at: Option<Duration>,
    state_file: Option<PathBuf>,
}

impl Program {
    fn start(options: Options, to: Sender<Outside>, arrivals: Receiver<Outside>) -> io::Result<Self> {
        let clock = Clock::system();
        // The question is under way while the terminal is taken over.
        let caller = Caller { via: "tui", sudo_user: options.sudo_user, read_only: options.read_only };
        let shell = Shell::start(options.sockets, caller, to.clone())?;
        let size = Screen::size()?;
        let mut model = Model::new(clock.now(), size);
        let Settings { theme, glyphs, keymap, mouse, utc, synchronized, mono_only } = options.settings;
        (model.theme, model.glyphs, model.keymap, model.mouse) = (theme, glyphs, keymap, mouse);
        (model.mono_only, model.local) = (mono_only, options.zone);
        model.zone = if utc { TimeZone::UTC } else { model.local.clone() };
        (model.host, model.read_only, model.directory) = (options.host, options.read_only, options.directory);
        if let Some(file) = &options.state_file {
            let remembered = settings::remembered(file);
            model.wide = remembered.wide;
            if let Some((sort, reverse)) = remembered.webhooks_sort {
                (model.webhooks.sort, model.webhooks.reverse) = (Sort::parse(&sort).unwrap_or_default(), reverse);
            }
        }
        input::watch_signals(to.clone())?;
        let mut screen = Screen::enter(synchronized)?;
        let reader = Reader::start(to)?;
        if mouse {
            screen.mouse(true)?;
        }
        let outside = outside::Programs {
            editor: options.editor,
            pager: options.pager,
            scratch: options.scratch,
            tmux: options.tmux,
        };
        let state_file = options.state_file;
        let ends_at = options.time.map(|time| clock.elapsed() + time);
        Ok(Self { model, screen, reader, shell, arrivals, clock, outside, ends_at, state_file })
    }

    fn run(&mut self) -> io::Result<Ended> {
        let mut next = Some(Outside::Message(Message::Tick));
        loop {
            // Everything that is there is dealt with before it is drawn.
            while let Some(outside) = next.take() {
                if let Some(ended) = self.deal_with(outside)? {
                    return Ok(ended);
                }
                next = self.arrivals.try_recv().ok();
            }
            self.screen.draw(&self.model)?;
            let left = self.ends_at.map(|at| at.saturating_sub(self.clock.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ended::Quit);
            }
            next = match update::wake_in(&self.model).into_iter().chain(left).min() {
                Some(pause) => match self.arrivals.recv_timeout(pause.max(Duration::from_millis(5))) {
                    Ok(outside) => Some(outside),
                    Err(RecvTimeoutError::Timeout) => Some(Outside::Message(Message::Tick)),
                    Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Gone),
                },
                None => match self.arrivals.recv() {
                    Ok(outside) => Some(outside),
                    Err(_) => return Ok(Ended::Gone),
                },
            };
        }
    }

    fn deal_with(&mut self, outside: Outside) -> io::Result<Option<Ended>> {
        let message = match outside {
            Outside::Message(message) => message,
            Outside::Gone => return Ok(Some(Ended::Gone)),
            Outside::Fault => return Ok(Some(Ended::Fault)),
            Outside::Signal(number) => return Ok(Some(Ended::Signal(number))),
            Outside::Continued => {
                self.screen.take()?;
                let (columns, rows) = Screen::size()?;
                Message::Resize(columns, rows)
            }
        };
        let effects = update::update(&mut self.model, message, self.clock.now());
        for effect in effects.0 {
            if self.perform(effect)? {
                return Ok(Some(Ended::Quit));
            }
        }
        Ok(None)
    }

    /// `true` when the program is to end.
    fn perform(&mut self, effect: Effect) -> io::Result<bool> {
        match effect {
            Effect::Ask(ask) => self.shell.ask(ask),
            Effect::Quit => return Ok(true),
            Effect::Redraw => self.screen.forget(),
            Effect::Mouse(on) => self.screen.mouse(on)?,
            Effect::Suspend => self.suspend()?,
            Effect::Copy { text, what } => {
                let told = self.outside.copy(&mut self.screen, &text, &what);
                self.tell(told);
            }
            Effect::Edit { text, suffix, purpose } => {
                let edited = self.aside(|programs| programs.edit(&text, suffix))?;
                return self.follow(Message::Edited(purpose, edited));
            }
            Effect::NewKey => {
                let mut chance = [0; 32];
                Random::Os.fill(&mut chance);
                return self.follow(Message::NewKey(SigningKey::of_chance(&chance)));
            }
            Effect::Page(text) => {
                if let Err(why) = self.aside(|programs| programs.page(&text))? {
                    self.tell(Err(why));
                }
            }
            Effect::Write { path, bytes } => {
                let told = outside::write(&path, &bytes);
                self.tell(told);
            }
            Effect::Remember(what) => {
                // Not worth a word: the next start sorts as ever.
                let _ = self.state_file.as_ref().map(|file| settings::remember(file, &what));
            }
        }
        Ok(false)
    }

    /// What was done has a consequence at once.
    fn follow(&mut self, message: Message) -> io::Result<bool> {
        let effects = update::update(&mut self.model, message, self.clock.now());
        for effect in effects.0 {
            if self.perform(effect)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell(&mut self, told: Result<String, String>) {
        // A line of text needs nothing done outside.
        let _ = update::update(&mut self.model, Message::Told(told), self.clock.now());
    }

    /// Gives the terminal to another program for a while.
    fn aside<T>(&mut self, run: impl FnOnce(&outside::Programs) -> T) -> io::Result<T> {
        self.reader.pause();
        restore();
        let done = run(&self.outside);
        self.screen.take()?;
        self.reader.resume();
        let (columns, rows) = Screen::size()?;
        self.model.size = (columns, rows);
        Ok(done)
    }

    fn suspend(&mut self) -> io::Result<()> {
        restore();
        // The whole job, as a shell expects; it goes on with SIGCONT, which is heard of by itself.
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        self.screen.take()
    }
}
