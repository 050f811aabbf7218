//! Rules that join several keys, and what is allowed but risky.
//!
//! Single values were checked when they were read; nothing here parses. Only the `Config` and
//! the places of its keys are looked at, never the file system or the network.
//!
//! Invariant: every rule points at a key that is really written in a file: the defaults break
//! no rule and raise no warning.

use super::problem::{Fault, Problem};
use super::raw::Raw;
use super::{Auth, Config, Tls, schema};

/// What makes the configuration as a whole unusable.
pub(super) fn contradictions(config: &Config, raw: &Raw) -> Vec<Problem> {
    let mut found = Findings { raw, problems: Vec::new() };
    let delivery = &config.delivery;
    if delivery.per_webhook_in_flight > delivery.max_in_flight {
        let text = format!("more than delivery.max_in_flight, which is {}", delivery.max_in_flight);
        found.at(&[("delivery", "per_webhook_in_flight"), ("delivery", "max_in_flight")], text);
    }
    email(config, &mut found);
    let signature = &config.signature;
    if signature.body_header.eq_ignore_ascii_case(&signature.event_type_header) {
        found
            .at(&[("signature", "event_type_header"), ("signature", "body_header")], "both headers have the same name");
    }
    if config.ingest.socket.is_some() && config.ingest.socket == config.admin.socket {
        found.at(&[("ingest", "socket"), ("admin", "socket")], "ingest and admin cannot share a socket");
    }
    if config.ingest.listen.port() != 0 && config.metrics.listen == Some(config.ingest.listen) {
        found.at(&[("metrics", "listen"), ("ingest", "listen")], "ingest and metrics cannot share an address");
    }
    found.problems
}

fn email(config: &Config, found: &mut Findings<'_>) {
    let email = &config.email;
    let Some(smtp) = &email.smtp else {
        return;
    };
    let url_user = smtp.url_username.as_deref();
    let file = email.password_file.is_some();
    match (email.username.as_deref(), url_user) {
        (Some(_), _) if !file => found.at(
            &[("email", "username"), ("email", "smtp"), ("email", "password_file")],
            "a user needs email.password_file",
        ),
        (None, None) if file => {
            found.at(
                &[("email", "password_file"), ("email", "username"), ("email", "smtp")],
                "a password needs a user: write email.username",
            );
        }
        _ => {}
    }
    if let (Some(user), Some(url_user)) = (email.username.as_deref(), url_user)
        && user != url_user
    {
        found.at(&[("email", "username"), ("email", "smtp")], "email.smtp names another user");
    }
}

/// What works, but that an operator should know about.
pub(super) fn warnings(config: &Config, raw: &Raw) -> Vec<Problem> {
    let mut found = Findings { raw, problems: Vec::new() };
    if !config.ingest.listen.ip().is_loopback() {
        let text = if config.ingest.auth == Auth::None {
            "every machine that reaches this address can post events, without a token"
        } else {
            "not a loopback address: tokens and events cross the network unencrypted"
        };
        found.at(&[("ingest", "listen")], text);
    }
    if let Some(all) = config.egress.allow.iter().find(|network| network.prefix_len() == 0) {
        found.at(&[("egress", "allow")], format!("{all} allows every address, this machine and its network included"));
    }
    let exposed = config.email.smtp.as_ref().is_some_and(|smtp| !smtp.is_local())
        && matches!(config.email.tls(), Tls::Opportunistic | Tls::Off);
    if config.email.username.is_some() && exposed {
        found.at(&[("email", "starttls")], "the mail password may cross the network unencrypted");
    }
    found.problems
}

struct Findings<'a> {
    raw: &'a Raw,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    /// Reports at the first of the keys that is written. Says nothing when one of them has a
    /// fault of its own: that may well be the cause.
    fn at(&mut self, keys: &[(&str, &str)], text: impl Into<String>) {
        if keys.iter().any(|(section, key)| self.raw.is_faulty(section, key)) {
            return;
        }
        let written = keys.iter().find_map(|(section, key)| Some((section, key, self.raw.get(section, key)?)));
        if let Some((section, key, written)) = written {
            let key = schema::dotted(section, key);
            let fault = Fault { found: Some(written.text.clone()), ..Fault::new(text) };
            self.problems.push(Problem { place: written.place.clone(), key, fault });
        }
    }
}
