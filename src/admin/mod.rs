//! The admin socket: what operators and their tools see and do.
//!
//! `protocol` is what travels, `server` answers, `client` asks. The UI and the command line are
//! clients and can do nothing that the socket does not offer.

pub mod protocol;
pub mod server;
mod views;
mod writes;
