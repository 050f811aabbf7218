//! Mail about deliveries that failed: when there is one (`digest`), how it reads (`message`),
//! what is kept of it (`queue`), and how a server is given it (`smtp`).
//!
//! It does not know where failures come from, reads no clock and no payload, and tries nothing
//! twice: that is for `alerts`. Its invariant: nothing that somebody else wrote reaches a header
//! or a command unless it went through [`printable`] or is an address that passed the checks.
//!
//! [`printable`]: crate::domain::text::printable

pub mod digest;
pub mod hints;
pub mod message;
pub mod queue;
mod saved;
pub mod smtp;

use std::fmt;
use std::pin::Pin;

pub use message::Letter;

/// What a mail server is to make of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailFault {
    /// The server as a whole can not be used now: not reached, no TLS, not logged in, too slow.
    Server,
    /// Not now for this mail or this recipient: 4xx, or the end was unclear.
    Later,
    /// Never for this mail or this recipient: 5xx.
    Refused,
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailError {
    /// What can be done about it.
    pub fault: MailFault,
    /// What the server said, or what went wrong; one line, made safe to show.
    pub text: String,
}

impl MailError {
    /// The longest text, in characters.
    const TEXT_LENGTH_MAX: usize = 300;

    /// A failure, its text cut and made safe to show.
    #[must_use]
    pub fn new(fault: MailFault, text: &str) -> Self {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = text.chars().take(Self::TEXT_LENGTH_MAX).collect();
        Self { fault, text: crate::domain::text::printable(&cut).into_owned() }
    }
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What became of a mail that could be handed over at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Recipients that the server did not take, and why; it took all others.
    pub failed: Vec<(String, MailError)>,
}

/// Something that takes mail.
pub trait Mailer: fmt::Debug + Send + Sync + 'static {
    /// Hands a mail over, once. An error means that nobody has it, as far as is known.
    fn send<'a>(&'a self, letter: &'a Letter) -> Pin<Box<dyn Future<Output = Result<Receipt, MailError>> + Send + 'a>>;
}
