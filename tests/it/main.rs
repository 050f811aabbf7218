//! The integration tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that can not go on should say where")]

mod architecture;
mod journal;
mod simulation;
mod support;
mod tidy;
