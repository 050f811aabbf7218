//! The integration tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that can not go on should say where")]

mod api;
mod architecture;
mod index;
mod journal;
mod server;
mod simulation;
mod support;
mod tidy;
