//! The vocabulary and the rules: what a webhook, an event, a delivery and an attempt are, and
//! how they change.
//!
//! Nothing here does input or output, waits, reads a clock, draws a random number or knows a
//! file format: `now` and chance arrive as arguments, and formats are converted at the edges.

pub mod address;
pub mod attempt;
pub mod audit;
pub mod counters;
pub mod credentials;
pub mod delivery;
pub mod email;
pub mod event;
pub mod event_type;
pub mod figures;
pub mod filter;
pub mod health;
pub mod id;
pub mod links;
pub mod log_fields;
pub mod references;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod text;
pub mod time;
pub mod trace_context;
pub mod webhook;
