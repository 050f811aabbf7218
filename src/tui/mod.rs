//! The terminal UI: a client of the admin socket, and nothing more.
//!
//! ```text
//! keys, answers, time ──Message──▶ update ──▶ model ──▶ view ──▶ terminal
//!                                    └──Effect──▶ shell ──▶ admin::client, editor, clipboard
//! ```
//!
//! `update` is the only place where the model changes, and is pure; `view` reads only the model; the
//! `shell` performs what is wanted outside. It holds no rules about deliveries, opens no store, and can
//! do nothing that the socket does not offer.

pub mod dialog;
pub mod keymap;
pub mod keys;
pub mod listing;
pub mod message;
pub mod model;
pub mod palette;
pub mod screen;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;
pub mod window;
