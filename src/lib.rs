//! postrider: accepts events on a local port, makes them durable, and delivers them to webhooks.

pub mod clock;
pub mod domain;
pub mod index;
pub mod journal;
pub mod random;
pub mod secrets;
pub mod store;
