//! What several tests need.

pub(crate) mod daemon;
pub(crate) mod mail_server;
pub(crate) mod receiver;
pub(crate) mod sim_disk;
pub(crate) mod source;
pub(crate) mod terminal;
pub(crate) mod world;
