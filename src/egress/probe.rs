//! One exchange for somebody who wants to know how it went: the same steps as every other, with
//! what each of them met.
//!
//! It is judged, dialled, secured and bounded as a delivery is, but on a connection of its own
//! that is closed afterwards, and with a whole TLS handshake. It does not read a body, and draws
//! no conclusions. Its invariant: what it tells is in words of this module; not one byte that a
//! peer sent is among them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::USER_AGENT;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::time::{Instant, timeout_at};
use x509_cert::der::Decode as _;

use super::dial::Progress;
use super::{
    Egress, NoTunnel, Request, UrlProblem, WireResponse, check, dial, exchange_on, outcome_of, target_of, wire_request,
};
use crate::domain::attempt::{ErrorKind, Outcome};
use crate::domain::time::Timestamp;

/// What came of a probe.
#[derive(Debug)]
pub struct Probe {
    /// As of every exchange.
    pub outcome: Outcome,
    /// What the steps met.
    pub trace: Trace,
}

/// What the steps of an exchange met, as far as it came.
#[derive(Debug, Default)]
pub struct Trace {
    /// Why the URL can not be dialled at all.
    pub url_problem: Option<UrlProblem>,
    /// What the name resolved to, or the address in the URL.
    pub addresses: Vec<IpAddr>,
    /// Why the name did not resolve.
    pub unresolved: Option<Unresolved>,
    /// Which address the policy denies, and the line of the configuration that would permit it.
    pub denied: Option<UrlProblem>,
    /// Addresses that were tried in vain.
    pub unreached: Vec<(SocketAddr, Unreached)>,
    /// The TLS session, if there came to be one.
    pub session: Option<Session>,
    /// Why there is none, or why the receiver ended it.
    pub tls_failure: Option<TlsFailure>,
    /// The proxy that was gone through, without user and password.
    pub proxy: Option<String>,
    /// Why the proxy did not let us through.
    pub no_tunnel: Option<NoTunnel>,
}

/// Why a name did not resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// It does not exist, or has no address.
    NoSuchName,
    /// No name server answered in time.
    NoAnswer,
    /// There is no name server to ask.
    NoServer,
    /// The name servers could not say.
    Failed,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "the name does not exist, or has no address",
            Self::NoAnswer => "no name server answered in time",
            Self::NoServer => "this machine has no name server to ask",
            Self::Failed => "the name servers could not resolve it",
        })
    }
}

/// Why an address was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// The host is there and says no.
    Refused,
    /// No route leads there.
    NoRoute,
    /// Nobody answered in time.
    NoAnswer,
    /// This machine does not let us.
    Forbidden,
    /// Something else.
    Failed,
}

impl From<std::io::ErrorKind> for Unreached {
    fn from(kind: std::io::ErrorKind) -> Self {
        use std::io::ErrorKind as Io;
        match kind {
            Io::ConnectionRefused | Io::ConnectionReset => Self::Refused,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown | Io::AddrNotAvailable => Self::NoRoute,
            Io::TimedOut => Self::NoAnswer,
            Io::PermissionDenied => Self::Forbidden,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::NoRoute => "no route to it",
            Self::NoAnswer => "no answer in time",
            Self::Forbidden => "not permitted by this machine",
            Self::Failed => "the connection failed",
        })
    }
}

/// A TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// When the receiver's certificate expires, if that could be read.
    pub expires_at: Option<Timestamp>,
}

impl Session {
    pub(super) fn of(connection: &rustls::ClientConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let parsed = leaf.and_then(|leaf| x509_cert::Certificate::from_der(leaf).ok());
        let expires_at = parsed
            .map(|parsed| Timestamp::default().plus(parsed.tbs_certificate().validity().not_after.to_unix_duration()));
        Self { version, expires_at }
    }
}

/// Why there is no TLS session. One variant for each thing to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate's time is over, and since when.
    Expired(Option<Timestamp>),
    /// The certificate's time has not come.
    NotYetValid,
    /// The certificate is for other names.
    WrongName,
    /// Nobody we trust has issued the certificate.
    UnknownIssuer,
    /// The certificate can not be accepted for another reason.
    BadCertificate,
    /// The receiver wants to see a client certificate.
    CertificateWanted,
    /// The receiver does not accept the client certificate.
    CertificateRefused,
    /// Nothing in common in versions and ciphers, or the receiver says no more than no.
    NothingInCommon,
    /// The receiver knows no such host.
    NoSuchHost,
    /// What came is not TLS.
    NotTls,
    /// The connection ended in the handshake.
    Closed,
    /// We have no root certificate, or can not use the webhook's.
    NoRoots,
    /// Something else.
    Failed,
}

impl TlsFailure {
    pub(super) fn of_io(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of(error),
            None => Self::Closed,
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => Self::Failed,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired(Some(Timestamp::from_millis(not_after.as_secs().saturating_mul(1000))))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            // An issuer of a name that we trust, and with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        use AlertDescription as Alert;
        match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Self::CertificateWanted,
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::DecryptError
            | Alert::AccessDenied => Self::CertificateRefused,
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => Self::NothingInCommon,
            Alert::UnrecognisedName => Self::NoSuchHost,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired(Some(at)) => return write!(f, "the receiver's certificate expired at {at}"),
            Self::Expired(None) => "the receiver's certificate has expired",
            Self::NotYetValid => "the receiver's certificate is not valid yet",
            Self::WrongName => "the receiver's certificate is for another name",
            Self::UnknownIssuer => "the receiver's certificate is from an issuer that is not trusted",
            Self::BadCertificate => "the receiver's certificate is damaged, or may not be used for this",
            Self::CertificateWanted => "the receiver demands a client certificate",
            Self::CertificateRefused => "the receiver refused the client certificate",
            Self::NothingInCommon => "the receiver refused the handshake: no version or cipher in common",
            Self::NoSuchHost => "the receiver knows no host of this name",
            Self::NotTls => "what answered does not speak TLS",
            Self::Closed => "the receiver closed the connection in the handshake",
            Self::NoRoots => "there are no root certificates to verify the receiver with",
            Self::Failed => "the handshake failed",
        })
    }
}

impl Egress {
    /// One exchange as [`super::Transport::send`] makes it, on a connection of its own, and what
    /// each step met. Nothing of the response but its head is read.
    ///
    /// With `withheld` the connection is made and nothing is sent on it; the outcome is then that
    /// kind, unless the connection could not be made.
    pub async fn probe(&self, request: Request, withheld: Option<ErrorKind>) -> Probe {
        let now = Instant::now();
        let deadline = now + request.timeout;
        let mut progress = Progress::tracing(now);
        let attempt = self.attempt_once(request, withheld, deadline, &mut progress);
        let answer = timeout_at(deadline, attempt).await.unwrap_or_else(|_| Err(progress.late()));
        let outcome = outcome_of(answer.as_ref().map_err(|kind| *kind), &mut progress);
        Probe { outcome, trace: progress.into_trace() }
    }

    async fn attempt_once(
        &self,
        request: Request,
        withheld: Option<ErrorKind>,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<WireResponse, ErrorKind> {
        let Request { url, headers, body, timeout: _, tls, slot } = request;
        let settings = self.settings.load_full();
        let shape = check::shape(&url, settings.allow_http);
        let shape = shape.and_then(|()| target_of(&url).map(drop).ok_or(UrlProblem::Target));
        if let Err(problem) = shape {
            progress.note(|trace| trace.url_problem = Some(problem));
            return Err(ErrorKind::Blocked);
        }
        let resolver = self.resolver.load_full();
        let agent = headers.get(USER_AGENT);
        let to = dial::Destination { url: &url, tls: tls.as_ref(), slot: slot.as_deref(), agent };
        let connection = dial::dial(to, &settings, &resolver, deadline, progress).await?;
        match withheld {
            Some(kind) => Err(kind),
            None => exchange_on(connection, &url, wire_request(headers, body), progress)
                .await
                .map(|(response, _)| response)
                .map_err(|failed| failed.kind),
        }
    }
}
