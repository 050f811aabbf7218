//! The terminal: taken over at the start, given back on every way out, and written to only where the
//! picture changed.
//!
//! Nothing is ever asked of the terminal: no answer could then arrive as typed text, or never. That is
//! also why there are two buffers of ours here and not the library's terminal, which asks for the
//! cursor when the size changes. Invariant: whatever [`Screen`] switched on, [`restore`] switches off.

use std::io::{self, BufWriter, Stdout, Write};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::style::force_color_output;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::model::Model;
use super::view::view;

/// A frame is written in one go: half a frame on a slow link is worse than a late one.
const FRAME_BYTES: usize = 64 << 10;

/// The terminal while the UI has it.
pub(super) struct Screen {
    backend: CrosstermBackend<BufWriter<Stdout>>,
    shown: Buffer,
    next: Buffer,
    /// The terminal is told where frames begin and end.
    synchronized: bool,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If it is none, or is gone.
    pub(super) fn enter(synchronized: bool) -> io::Result<Self> {
        // With NO_COLOR set, the library would write empty sequences that reset what should be
        // reversed. Colours are left out by the theme instead.
        force_color_output(true);
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, io::stdout()));
        let empty = Buffer::empty(Rect::default());
        let mut screen = Self { backend, shown: empty.clone(), next: empty, synchronized, mouse: false };
        screen.take()?;
        Ok(screen)
    }

    /// Takes it over again, after another program had it.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn take(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        queue!(self.backend, EnterAlternateScreen, Hide, EnableBracketedPaste)?;
        if self.mouse {
            queue!(self.backend, EnableMouseCapture)?;
        }
        Write::flush(&mut self.backend)?;
        self.forget();
        Ok(())
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn size() -> io::Result<(u16, u16)> {
        let (columns, rows) = crossterm::terminal::size()?;
        // Serial lines do not know how large they are.
        Ok(if columns == 0 || rows == 0 { (80, 24) } else { (columns, rows) })
    }

    /// Switches the mouse.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse = on;
        if on { execute!(self.backend, EnableMouseCapture) } else { execute!(self.backend, DisableMouseCapture) }
    }

    /// Draws everything the next time, whatever is on the screen.
    pub(super) fn forget(&mut self) {
        self.shown = Buffer::empty(Rect::default());
    }

    /// Draws the model; writes nothing when the picture is the same.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        let area = Rect::new(0, 0, model.size.0, model.size.1);
        let anew = self.shown.area != area;
        if anew {
            self.shown = Buffer::empty(area);
            self.next = Buffer::empty(area);
        } else {
            self.next.reset();
        }
        view(model, &mut self.next);
        let changes = self.shown.diff(&self.next);
        if changes.is_empty() && !anew {
            return Ok(());
        }
        if self.synchronized {
            queue!(self.backend, BeginSynchronizedUpdate)?;
        }
        if anew {
            queue!(self.backend, Clear(ClearType::All))?;
        }
        self.backend.draw(changes.into_iter())?;
        if self.synchronized {
            queue!(self.backend, EndSynchronizedUpdate)?;
        }
        Write::flush(&mut self.backend)?;
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }

    /// Writes bytes that are no part of the picture, such as a text for the clipboard.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.backend.write_all(bytes)?;
        Write::flush(&mut self.backend)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, whatever state it is in. Can be called at any time and twice.
pub(super) fn restore() {
    // Each by itself: what fails for one may work for the others, and nobody can be told.
    let mut out = io::stdout();
    let _ = execute!(out, EndSynchronizedUpdate);
    let _ = execute!(out, DisableMouseCapture, DisableBracketedPaste);
    let _ = execute!(out, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
