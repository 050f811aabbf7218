//! A real terminal: the program runs on a pty, and a terminal parser that is not ours reads what it
//! draws. Waiting is for a picture, never for a time.

use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::daemon::Daemon;

struct Seen {
    parser: vt100::Parser,
    raw: Vec<u8>,
    ended: bool,
}

/// A program on a terminal.
pub(crate) struct Terminal {
    master: Option<Arc<OwnedFd>>,
    /// The thread that reads, and what ends it.
    reader: Option<(JoinHandle<()>, OwnedFd)>,
    child: Child,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

/// How long anything may take before a test is in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a terminal is set up.
pub(crate) struct Setup<'a> {
    pub(crate) size: (u16, u16),
    pub(crate) environment: &'a [(&'a str, &'a str)],
    pub(crate) arguments: &'a [&'a str],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { size: (80, 24), environment: &[], arguments: &[] }
    }
}

impl Terminal {
    /// The UI of a daemon.
    pub(crate) fn ui(daemon: &Daemon, setup: &Setup<'_>) -> Self {
        let state = daemon.folder.path().join("state");
        let program = [env!("CARGO_BIN_EXE_postrider"), "--state-dir", state.to_str().unwrap(), "tui"];
        let arguments: Vec<&str> = program.into_iter().chain(setup.arguments.iter().copied()).collect();
        Self::start(&arguments, daemon.folder.path(), setup)
    }

    /// Any program, the first of a session on the terminal.
    pub(crate) fn start(program: &[&str], home: &Path, setup: &Setup<'_>) -> Self {
        let (cols, rows) = setup.size;
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(cols, rows)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = || std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let usual = [
            ("TERM", "xterm-256color"),
            ("LANG", "C.UTF-8"),
            ("HOME", home.to_str().unwrap()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ];
        // Makes the terminal the controlling one, without a process in between.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(program)
            .env_clear()
            .envs(usual)
            .envs(setup.environment.iter().copied())
            .current_dir(home)
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        let seen = Seen { parser: vt100::Parser::new(cells(rows), cells(cols), 0), raw: Vec::new(), ended: false };
        let (seen, master) = (Arc::new((Mutex::new(seen), Condvar::new())), Arc::new(master));
        let (stop, stopper) = rustix::pipe::pipe().unwrap();
        let (theirs, from) = (Arc::clone(&seen), Arc::clone(&master));
        let reader = std::thread::spawn(move || read(&theirs, &from, &stop));
        Self { master: Some(master), reader: Some((reader, stopper)), child, seen }
    }

    /// Waits until the screen is as it should be; gives what was found.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&vt100::Screen) -> Option<T>) -> T {
        let mut found = None;
        let seen = self.seen.0.lock().unwrap();
        let waits = |seen: &mut Seen| {
            found = look(seen.parser.screen());
            found.is_none() && !seen.ended
        };
        let (seen, _) = self.seen.1.wait_timeout_while(seen, PATIENCE, waits).unwrap();
        let contents = seen.parser.screen().contents();
        drop(seen);
        found.unwrap_or_else(|| panic!("in vain: {what}\n{contents}"))
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contents().contains(text).then_some(()));
    }

    /// Waits until a text is not on the screen any more.
    #[track_caller]
    pub(crate) fn hides(&self, text: &str) {
        self.until(&format!("no {text}"), |screen| (!screen.contents().contains(text)).then_some(()));
    }

    /// Waits until something was written; `look` sees everything that was.
    #[track_caller]
    pub(crate) fn until_written(&self, what: &str, mut look: impl FnMut(&[u8]) -> bool) {
        let seen = self.seen.0.lock().unwrap();
        let (seen, waited) = self.seen.1.wait_timeout_while(seen, PATIENCE, |seen| !look(&seen.raw)).unwrap();
        let contents = seen.parser.screen().contents();
        drop(seen);
        assert!(!waited.timed_out(), "in vain: {what}\n{contents}");
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.seen.0.lock().unwrap().parser.screen().contents()
    }

    /// Everything that was written to the terminal.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.seen.0.lock().unwrap().raw.clone()
    }

    /// Sends bytes as a keyboard would.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let written = rustix::io::write(self.master(), left).unwrap();
            left = &left[written..];
        }
    }

    /// Types a text, each key by itself: what comes together is a paste.
    pub(crate) fn type_text(&mut self, text: &str) {
        for character in text.chars() {
            let before = self.raw().len();
            self.send(character.to_string().as_bytes());
            // Every key here is seen on the screen.
            self.until_written(&format!("{character} of {text}"), |raw| raw.len() > before);
        }
    }

    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.seen.0.lock().unwrap().parser.screen_mut().set_size(cells(rows), cells(cols));
        tcsetwinsize(self.master(), winsize(cols, rows)).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Lines are edited and echoed by the terminal, as a shell leaves them.
    pub(crate) fn is_cooked(&self) -> bool {
        tcgetattr(self.master()).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn master(&self) -> &OwnedFd {
        self.master.as_ref().unwrap()
    }

    /// The terminal goes away.
    pub(crate) fn hang_up(&mut self) {
        if let Some((reader, stopper)) = self.reader.take() {
            drop(stopper);
            reader.join().unwrap();
        }
        self.master = None;
    }

    /// Waits until the program has ended; gives its exit code, 128 and more for a signal.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> i32 {
        for _ in 0..4_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let signalled = || status.signal().map(|signal| signal + 128);
                return status.code().or_else(signalled).unwrap();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("it does not end\n{}", self.screen());
    }

    /// Everything that was written, once nobody can write any more.
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut seen = self.seen.0.lock().unwrap();
        while !seen.ended {
            let waited = self.seen.1.wait_timeout(seen, PATIENCE).unwrap();
            assert!(!waited.1.timed_out(), "somebody still has the terminal");
            seen = waited.0;
        }
        seen.raw.clone()
    }
}

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn winsize(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Reads what is written to the terminal until nobody can write any more, or until it is stopped.
fn read(seen: &(Mutex<Seen>, Condvar), from: &OwnedFd, stop: &OwnedFd) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        poll(&mut watched, None).unwrap();
        if !watched[1].revents().is_empty() {
            return;
        }
        // Without a writer, a terminal reports an error and not an end.
        let length = rustix::io::read(from, &mut buffer).unwrap_or(0);
        let mut seen_now = seen.0.lock().unwrap();
        if length == 0 {
            seen_now.ended = true;
        } else {
            seen_now.parser.process(&buffer[..length]);
            seen_now.raw.extend_from_slice(&buffer[..length]);
        }
        seen.1.notify_all();
        if length == 0 {
            return;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
