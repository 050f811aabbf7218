//! The admin socket: everything an operator can ask of a running daemon.
//!
//! The words that travel are in [`protocol`], the asking side is [`client`], the answering side
//! [`server`]. It holds no rules of its own about deliveries, and never opens the store from the
//! asking side.
//!
//! Invariant: what the command line and the UI can do is exactly what the protocol offers.

mod audit;
pub mod client;
pub mod protocol;
pub mod server;
mod transfer;
mod views;
mod writes;
