//! Who takes part in a demo: the webhooks, and how their receivers behave.
//!
//! Behaviour is a function of the number of a request, chance and the time; nothing is measured or remembered here.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::listen::{Act, React, Reaction};
use crate::random::Random;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    /// 200, within milliseconds.
    Quick,
    /// 200, after seconds.
    Slow,
    /// 503 for a while, then well for a while.
    Moody,
    /// Well, but now and then a redirection or a reset.
    Erratic,
    /// Nobody listens.
    Absent,
}

/// A webhook and its receiver.
#[derive(Debug)]
pub(super) struct Role {
    name: &'static str,
    path: &'static str,
    event_types: &'static [&'static str],
    /// Only events whose `final` is true.
    only_final: bool,
    retry_count: u16,
    retry_interval_seconds: u64,
    max_in_flight: u16,
    temper: Temper,
}

/// In the order in which webhooks are made.
pub(super) static CAST: [Role; 6] = [
    Role {
        name: "orders-prod",
        path: "/hooks/checks",
        event_types: &["ACCOUNT_CHECK", "BANK_VERIFICATION", "GOV_ORDERED_DOCUMENT", "SOS_REPORT"],
        only_final: false,
        retry_count: 5,
        retry_interval_seconds: 10,
        max_in_flight: 8,
        temper: Temper::Quick,
    },
    Role {
        name: "kyc-auto",
        path: "/kyc/finished",
        event_types: &[
            "ID_VERIFICATION_AUTO_FINISHED",
            "ID_VERIFICATION_MANUAL_FINISHED",
            "ID_VERIFICATION_CANCELED",
            "ID_VERIFICATION_RESUBMITTED",
        ],
        only_final: true,
        retry_count: 7,
        retry_interval_seconds: 30,
        max_in_flight: 8,
        temper: Temper::Quick,
    },
    Role {
        name: "aml-watch",
        path: "/aml",
        event_types: &["AML_MONITORING", "AML_MONITORING_EXPIRATION", "COMPANY_AML_REVIEW"],
        only_final: false,
        retry_count: 8,
        retry_interval_seconds: 6,
        max_in_flight: 4,
        temper: Temper::Moody,
    },
    Role {
        name: "kyb-review",
        path: "/kyb",
        event_types: &["COMPANY_REVIEW", "COMPANY_SUBMIT", "COMPANY_INFO_REQUEST", "COMPANY_EXPIRATION"],
        only_final: false,
        retry_count: 4,
        retry_interval_seconds: 15,
        max_in_flight: 8,
        temper: Temper::Slow,
    },
    Role {
        name: "face-auth",
        path: "/auth/face",
        event_types: &["FACIAL_AUTHENTICATION"],
        only_final: false,
        retry_count: 2,
        retry_interval_seconds: 4,
        max_in_flight: 8,
        temper: Temper::Absent,
    },
    Role {
        name: "docs-expiry",
        path: "/documents",
        event_types: &["DOCUMENT_EXPIRATION", "ID_VERIFICATION_EXPIRED"],
        only_final: false,
        retry_count: 3,
        retry_interval_seconds: 5,
        max_in_flight: 8,
        temper: Temper::Erratic,
    },
];

/// A port that nothing listens on: it takes privileges to, and its service (tcpmux) is extinct.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// How long the moody one is in trouble, from the beginning on, and after how long again.
const TROUBLE: Duration = Duration::from_secs(25);
const MOOD: Duration = Duration::from_secs(80);

impl Role {
    /// What its receiver does; `None` when there is none.
    pub(super) fn react(&self, clock: Clock) -> Option<React> {
        let temper = self.temper;
        let began = clock.elapsed();
        let react = move |number, chance| reaction(temper, number, chance, clock.elapsed().saturating_sub(began));
        (temper != Temper::Absent).then(|| Box::new(react) as React)
    }

    /// The webhook, as it is written to the admin socket.
    pub(super) fn webhook(&self, receiver: Option<SocketAddr>, chance: &Random) -> Value {
        let filter = if self.only_final { json!([{"path": "/final", "equals": true}]) } else { json!([]) };
        json!({
            "name": self.name,
            "url": format!("http://{}{}", receiver.unwrap_or(NOBODY), self.path),
            "event_types": self.event_types,
            "headers": [{"name": "X-Env", "value": "demo"}],
            "signing_key": format!("{:032x}", chance.bits()),
            "filter": filter,
            "retry": {"count": self.retry_count, "interval_seconds": self.retry_interval_seconds},
            "max_in_flight": self.max_in_flight,
        })
    }
}

/// What a receiver does with its n-th request, so long after the beginning.
fn reaction(temper: Temper, number: u64, chance: f64, since: Duration) -> Reaction {
    let millis = |least: f64, most: f64| Duration::from_secs_f64((least + chance * (most - least)) / 1000.0);
    let of_mood = Duration::from_millis(u64::try_from(since.as_millis() % MOOD.as_millis()).unwrap_or(0));
    match temper {
        Temper::Slow => Reaction::answer(200).after(millis(1_200.0, 3_500.0)),
        Temper::Moody if of_mood < TROUBLE => Reaction::answer(503).after(millis(20.0, 60.0)),
        Temper::Erratic if number % 6 == 2 => Reaction::answer(302).after(millis(5.0, 30.0)),
        Temper::Erratic if number % 11 == 7 => Reaction { delay: millis(5.0, 30.0), act: Act::Reset },
        Temper::Quick | Temper::Moody | Temper::Erratic | Temper::Absent => {
            Reaction::answer(200).after(millis(3.0, 45.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempers_show_what_they_are() {
        let at = |seconds| Duration::from_secs(seconds);
        let status = |temper, number, since| match reaction(temper, number, 0.5, since).act {
            Act::Answer { status, .. } => status,
            _ => 0,
        };
        assert_eq!(
            [0, 24, 25, 79, 80, 104, 105].map(|s| status(Temper::Moody, 0, at(s))),
            [503, 503, 200, 200, 503, 503, 200]
        );
        let erratic: Vec<u16> = (0..12).map(|number| status(Temper::Erratic, number, at(0))).collect();
        assert_eq!(erratic, [200, 200, 302, 200, 200, 200, 200, 0, 302, 200, 200, 200]);
        assert!(reaction(Temper::Slow, 0, 0.0, at(0)).delay > at(1));
        assert!(reaction(Temper::Quick, 0, 0.999, at(0)).delay < Duration::from_millis(50));
    }

    #[test]
    fn everybody_but_the_absent_one_listens() {
        let clock = Clock::system();
        let listening = CAST.iter().filter(|role| role.react(clock).is_some()).count();
        assert_eq!(listening, CAST.len() - 1);
        let url = CAST[4].webhook(None, &Random::seeded(1))["url"].clone();
        assert_eq!(url, "http://127.0.0.1:1/auth/face");
    }
}
