//! The integration tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that can not go on should say where")]

mod api;
mod architecture;
mod audit;
mod backup;
mod bulk;
mod canary;
mod changes;
mod cli;
mod completions;
mod demo;
mod guard;
mod history;
mod hostile_text;
mod index;
mod jobs;
mod journal;
mod keys;
mod listen;
mod lookups;
mod mail;
mod mail_away;
mod metrics;
mod oauth;
mod patterns;
mod readonly;
mod reload;
#[path = "../rows.rs"]
mod rows;
mod rules;
mod schema;
mod server;
mod simulation;
mod stats;
mod supply;
mod support;
mod tables;
mod terminal;
mod tidy;
mod tracing;
mod transfer;
mod trial;
mod unit;
mod walks;
mod watching;
