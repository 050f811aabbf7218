//! postrider: accepts events on a local port, makes them durable, and delivers them to webhooks.

pub mod domain;
pub mod egress;
