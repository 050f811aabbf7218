//! Hands a mail to a mail server: one connection, one mail, each recipient on its own.
//!
//! It tries nothing twice, keeps nothing, and holds no password longer than it is needed. Its
//! invariants: an exchange ends within [`Smtp::TIME_MAX`] whatever the server does, and who is not
//! known to be the server can not fill the memory; where TLS is required, nothing but the greeting
//! and `STARTTLS` is said without it; a recipient counts as served only when the server has
//! confirmed the text of the mail.

mod bounded;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use lettre::address::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use tokio::net::TcpStream;

use self::bounded::Bounded;
use super::message::{Letter, address};
use super::{MailError, MailFault, Mailer, Receipt};
use crate::domain::secret::Secret;

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte.
    Implicit,
    /// `STARTTLS` or nothing.
    Required,
    /// `STARTTLS` if the server offers it, with whatever certificate it has.
    Opportunistic,
    /// None.
    Off,
}

/// A mail server and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// What we call ourselves.
    pub hello: String,
    /// The user, together with the file that holds the password and nothing else.
    pub login: Option<(String, PathBuf)>,
    /// A PEM file with root certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest that handing over one mail may take; [`Self::TIME_MAX`].
    pub time_max: Duration,
}

/// A failure in the words of the SMTP library, which puts its cause behind.
fn failure(fault: MailFault, doing: &str, error: &Error) -> MailError {
    MailError::new(fault, &format!("{doing}: {error}"))
}

/// What an answer about one mail or recipient means.
fn judged(doing: &str, error: &Error) -> MailError {
    let code = error.status().map(u16::from);
    let fault = match code {
        // Not logged in, or TLS wanted: the settings are wrong, not the mail.
        Some(530 | 534 | 535 | 538) => MailFault::Server,
        Some(500..=599) => MailFault::Refused,
        Some(421) | None => MailFault::Server,
        Some(_) => MailFault::Later,
    };
    failure(fault, doing, error)
}

impl Smtp {
    /// The longest that handing over one mail may take.
    pub const TIME_MAX: Duration = Duration::from_secs(90);
    /// The longest that connecting, or one answer while connecting, may take.
    const CONNECT_MAX: Duration = Duration::from_secs(30);
    /// How long a server that has the mail may take to say goodbye.
    const QUIT_MAX: Duration = Duration::from_secs(2);

    async fn tls(&self, verified: bool) -> Result<TlsParameters, MailError> {
        let fail = |text: String| MailError::new(MailFault::Server, &text);
        let mut builder = TlsParameters::builder(self.host.clone()).dangerous_accept_invalid_certs(!verified);
        if let Some(path) = &self.ca_file {
            let shown = path.display();
            let pem = tokio::fs::read(path).await.map_err(|error| fail(format!("{shown}: {error}")))?;
            let roots = Certificate::from_pem(&pem).map_err(|error| fail(format!("{shown}: {error}")))?;
            builder = builder.add_root_certificate(roots);
        }
        builder.build().map_err(|error| failure(MailFault::Server, "TLS can not be set up", &error))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, MailError> {
        let hello = ClientId::Domain(self.hello.clone());
        let server = (self.host.as_str(), self.port);
        let doing = format!("connecting to {}:{}", self.host, self.port);
        let connecting = async {
            if self.encryption == Encryption::Implicit {
                // Who speaks here was verified before the first word.
                let tls = Some(self.tls(true).await?);
                let made = AsyncSmtpConnection::connect_tokio1(server, Some(Self::CONNECT_MAX), &hello, tls, None);
                return made.await.map_err(|error| failure(MailFault::Server, &doing, &error));
            }
            let fail = |why: &str| MailError::new(MailFault::Server, &format!("{doing}: {why}"));
            let stream = tokio::time::timeout(Self::CONNECT_MAX, TcpStream::connect(server)).await;
            let stream = stream.map_err(|_| fail("no answer"))?.map_err(|error| fail(&error.to_string()))?;
            let made = AsyncSmtpConnection::connect_with_transport(Box::new(Bounded::new(stream)), &hello);
            made.await.map_err(|error| failure(MailFault::Server, &doing, &error))
        };
        let mut connection = connecting.await?;
        let wanted = match self.encryption {
            Encryption::Implicit | Encryption::Off => false,
            // Fails when it is not offered.
            Encryption::Required => true,
            Encryption::Opportunistic => connection.can_starttls(),
        };
        if wanted {
            let tls = self.tls(self.encryption == Encryption::Required).await?;
            let secured = connection.starttls(tls, &hello).await;
            secured.map_err(|error| failure(MailFault::Server, "STARTTLS", &error))?;
        }
        if let Some((user, file)) = &self.login {
            let password = read_password(file).await?;
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let greeted = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            greeted.map_err(|error| failure(MailFault::Server, &format!("logging in as {user}"), &error))?;
        }
        Ok(connection)
    }

    async fn hand_over(&self, letter: &Letter, bytes: Vec<u8>) -> Result<Receipt, MailError> {
        let from = address(&letter.from).map_err(|text| MailError::new(MailFault::Server, &text))?;
        let mut connection = self.connect().await?;
        let answer = connection.command(Mail::new(Some(from), Vec::new())).await;
        if let Err(error) = answer {
            // About the sender, which is a setting, and not about what the mail says.
            return Err(failure(MailFault::Server, &format!("the sender {}", letter.from), &error));
        }
        let mut receipt = Receipt::default();
        for recipient in &letter.to {
            let doing = format!("the recipient {recipient}");
            let taken = match address(recipient) {
                Ok(known) => ask_for(&mut connection, known).await.map_err(|error| judged(&doing, &error)),
                Err(text) => Err(MailError::new(MailFault::Refused, &text)),
            };
            match taken {
                Ok(()) => {}
                Err(error) if error.fault == MailFault::Server => return Err(error),
                Err(error) => receipt.failed.push((recipient.clone(), error)),
            }
        }
        if receipt.failed.len() < letter.to.len() {
            connection.command(Data).await.map_err(|error| judged("the mail", &error))?;
            let taken = connection.message(&bytes).await;
            // No answer to the text of a mail: it may have been taken, or not.
            taken.map_err(|error| match judged("the text of the mail", &error) {
                lost if error.status().is_none() => MailError { fault: MailFault::Later, ..lost },
                told => told,
            })?;
        }
        // Whatever becomes of the goodbye, the mail is the server's now.
        let _ = tokio::time::timeout(Self::QUIT_MAX, connection.quit()).await;
        Ok(receipt)
    }
}

async fn ask_for(connection: &mut AsyncSmtpConnection, recipient: Address) -> Result<(), Error> {
    connection.command(Rcpt::new(recipient, Vec::new())).await.map(drop)
}

async fn read_password(file: &Path) -> Result<Secret, MailError> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => Ok(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned())),
        Err(error) => {
            let text = format!("{} (email.password_file): {error}", file.display());
            Err(MailError::new(MailFault::Server, &text))
        }
    }
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, letter: &'a Letter) -> Pin<Box<dyn Future<Output = Result<Receipt, MailError>> + Send + 'a>> {
        Box::pin(async move {
            // Apart, because the library that writes it is known to panic on input it does not like.
            let written = letter.clone();
            let written = tokio::task::spawn_blocking(move || written.to_bytes()).await;
            let bytes = written.unwrap_or_else(|_| Err("the mail can not be written".to_owned()));
            let bytes = bytes.map_err(|text| MailError::new(MailFault::Refused, &text))?;
            match tokio::time::timeout(self.time_max, self.hand_over(letter, bytes)).await {
                Ok(result) => result,
                Err(_) => {
                    let text = format!("{}:{} did not take the mail within {:?}", self.host, self.port, self.time_max);
                    Err(MailError::new(MailFault::Server, &text))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
