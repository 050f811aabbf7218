//! postrider: accepts events on a local port, makes them durable, and delivers them to webhooks.
//!
//! The modules in reading order; each imports only what stands above it (see ARCHITECTURE.md).

pub mod domain;

pub mod catalog;
pub mod clock;
pub mod config;
pub mod logging;
pub mod random;

pub mod egress;
pub mod http;
pub mod index;
pub mod journal;
pub mod mail;
pub mod secrets;
pub mod spans;
pub mod store;

pub mod backup;
pub mod ingest;

pub mod alerts;
pub mod dispatch;
pub mod maintenance;

pub mod admin;
pub mod editor;
pub mod listen;
pub mod tui;

pub mod cli;
pub mod daemon;
pub mod demo;
