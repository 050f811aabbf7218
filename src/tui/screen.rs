//! The screens: for each its state, what its actions do, and how it is drawn.
//!
//! A tab is part of the model and is always there; a page lies over the tabs while it is open. None of
//! them does I/O or reads a clock.

pub mod deliveries;
pub mod delivery;
pub mod document;
pub mod event;
pub mod events;
pub mod form;
pub mod help;
pub mod overview;
pub mod schema;
pub mod system;
pub mod viewer;
pub mod webhooks;
pub mod words;
