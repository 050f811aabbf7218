//! The application of a demo: makes the webhooks, and posts events of varied types with the real token to the real port.
//!
//! It posts the catalog's examples with fresh references and decides nothing else; it does not look at what becomes of them. A
//! post that fails is left out: whoever watches sees that fewer come.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::admin::client::ingest::{NewEvent, PostError, post};
use crate::admin::client::{Caller, Client};
use crate::catalog;
use crate::daemon::{ServeError, Within};
use crate::domain::secret::Secret;
use crate::random::Random;

/// Posted before anything is shown, so that the first picture is alive.
const OPENING: usize = 24;
/// Between two events.
const PAUSE_MIN: Duration = Duration::from_millis(120);
const PAUSE_MAX: Duration = Duration::from_millis(480);

/// What is posted, and how often in relation to the rest.
const TYPES: [(&str, u32); 17] = [
    ("ID_VERIFICATION_AUTO_FINISHED", 9),
    ("ID_VERIFICATION_MANUAL_FINISHED", 5),
    ("ID_VERIFICATION_EXPIRED", 2),
    ("ID_VERIFICATION_CANCELED", 1),
    ("ID_VERIFICATION_RESUBMITTED", 2),
    ("AML_MONITORING", 5),
    ("AML_MONITORING_EXPIRATION", 1),
    ("COMPANY_AML_REVIEW", 1),
    ("COMPANY_REVIEW", 3),
    ("COMPANY_SUBMIT", 2),
    ("COMPANY_INFO_REQUEST", 1),
    ("FACIAL_AUTHENTICATION", 3),
    ("DOCUMENT_EXPIRATION", 4),
    ("ACCOUNT_CHECK", 3),
    ("BANK_VERIFICATION", 2),
    ("GOV_ORDERED_DOCUMENT", 1),
    ("SOS_REPORT", 1),
];

/// Posts until it is dropped.
pub(super) struct Traffic {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Where events go.
struct Port {
    base: Url,
    token: Secret,
}

impl Traffic {
    /// Makes the webhooks and posts the first events; more follow.
    pub(super) fn start(daemon: &Within, webhooks: Vec<Value>, chance: Random) -> Result<Self, ServeError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| ServeError::Io(format!("{what}: {error}"));
        let token = std::fs::read_to_string(daemon.token_file())
            .map_err(|error| failed(&daemon.token_file().display().to_string(), &error))?;
        let base = Url::parse(&format!("http://{}/", daemon.listen())).map_err(|error| failed("the port", &error))?;
        let port = Port { base, token: Secret::new(token.trim().to_owned()) };
        let caller = Caller { via: "demo", sudo_user: None, read_only: false };
        let client = Client::new(daemon.socket(), &caller).map_err(|error| failed("the demo", &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("there are no threads", &error))?;
        let stop = CancellationToken::new();
        let ends = stop.clone();
        let (ready, opened) = sync_channel(1);
        let run = move || {
            let posting = play(&client, &webhooks, &port, &chance, &ready);
            runtime.block_on(async {
                tokio::select! {
                    () = ends.cancelled() => {}
                    () = posting => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("postrider-demo".to_owned()).spawn(run);
        let thread = thread.map_err(|error| failed("there are no threads", &error))?;
        let traffic = Self { stop, thread: Some(thread) };
        match opened.recv() {
            Ok(Ok(())) => Ok(traffic),
            Ok(Err(why)) => Err(ServeError::Io(why)),
            Err(_) => Err(ServeError::Io("a fault ended the demo at its start".to_owned())),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The opening, and then events for ever.
async fn play(
    client: &Client,
    webhooks: &[Value],
    port: &Port,
    chance: &Random,
    ready: &SyncSender<Result<(), String>>,
) {
    if let Err(why) = open(client, webhooks, port, chance).await {
        let _ = ready.send(Err(why));
        return;
    }
    let _ = ready.send(Ok(()));
    loop {
        let pause = PAUSE_MIN + (PAUSE_MAX - PAUSE_MIN).mul_f64(chance.unit());
        tokio::time::sleep(pause).await;
        // There is nobody to tell, and the next one may be taken.
        let _ = port.post(chance).await;
    }
}

async fn open(client: &Client, webhooks: &[Value], port: &Port, chance: &Random) -> Result<(), String> {
    for webhook in webhooks {
        client.create_webhook(webhook).await.map_err(|error| format!("a webhook could not be made: {error}"))?;
    }
    for _ in 0..OPENING {
        port.post(chance).await.map_err(|error| format!("an event could not be posted: {error}"))?;
    }
    Ok(())
}

impl Port {
    async fn post(&self, chance: &Random) -> Result<(), PostError> {
        let (event_type, payload) = event(chance);
        let event = NewEvent {
            base: self.base.clone(),
            event_type: event_type.to_owned(),
            token: Some(self.token.clone()),
            idempotency_key: None,
            payload,
        };
        post(event).await.map(drop)
    }
}

/// A type and a payload of it.
fn event(chance: &Random) -> (&'static str, Vec<u8>) {
    let all: u32 = TYPES.iter().map(|(_, weight)| weight).sum();
    let mut place = chance.unit() * f64::from(all);
    let drawn = TYPES.iter().find(|(_, weight)| {
        place -= f64::from(*weight);
        place < 0.0
    });
    let name = drawn.map_or(TYPES[0].0, |(name, _)| *name);
    (name, payload(name, chance))
}

/// The example of a type with references that nothing else has.
fn payload(name: &str, chance: &Random) -> Vec<u8> {
    let example = catalog::example(name).unwrap_or("{}");
    let mut payload: Value = serde_json::from_str(example).unwrap_or_default();
    let scan_ref = format!("{:032x}", chance.bits());
    let number = chance.bits() % 1_000_000;
    let is_final = chance.unit() < 0.6;
    let fresh = [
        ("scanRef", json!(scan_ref)),
        ("scanRefList", json!([scan_ref])),
        ("clientId", json!(format!("cust-{number:06}"))),
        ("companyId", json!(scan_ref)),
        ("monitoringId", json!(scan_ref)),
        ("id", json!(scan_ref)),
    ];
    if let Some(fields) = payload.as_object_mut() {
        for (field, value) in fresh {
            if let Some(found) = fields.get_mut(field).filter(|found| found.is_string() || found.is_array()) {
                *found = value;
            }
        }
        if name == "ID_VERIFICATION_AUTO_FINISHED" {
            fields.insert("final".to_owned(), json!(is_final));
        }
    }
    payload.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_payload_fits_its_schema_and_has_its_own_references() {
        let chance = Random::seeded(7);
        let mut found = BTreeSet::new();
        for (name, _) in TYPES {
            for _ in 0..3 {
                let payload = payload(name, &chance);
                let misfits = catalog::validator(name).unwrap().check(&payload);
                assert!(misfits.is_empty(), "{name}: {misfits:?}");
                let value: Value = serde_json::from_slice(&payload).unwrap();
                let reference =
                    ["scanRef", "companyId", "monitoringId", "id"].iter().find_map(|field| value.get(field));
                let Some(reference) = reference else { continue };
                assert!(found.insert(reference.as_str().unwrap().to_owned()), "{name}");
            }
        }
        // All but the one that is about numbers only.
        assert_eq!(found.len(), (TYPES.len() - 1) * 3);
    }

    #[test]
    fn a_seed_repeats_and_every_type_turns_up() {
        let events = |seed| {
            let chance = Random::seeded(seed);
            (0..600).map(|_| event(&chance)).collect::<Vec<_>>()
        };
        assert!(events(1) == events(1) && events(1) != events(2));
        let types: BTreeSet<&str> = events(1).into_iter().map(|(name, _)| name).collect();
        assert_eq!(types.len(), TYPES.len());
        let finals = |wanted: bool| {
            let text = format!("\"final\":{wanted}");
            events(1)
                .iter()
                .filter(|(name, payload)| {
                    name.ends_with("AUTO_FINISHED") && String::from_utf8_lossy(payload).contains(&text)
                })
                .count()
        };
        assert!(finals(true) > finals(false) && finals(false) > 20);
    }
}
