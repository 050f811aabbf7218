//! What several tests need.

pub(crate) mod sim_disk;
