//! One event: what was posted, with what, and what became of it at each webhook. (Skeleton: to be filled in.)
//!
//! It changes nothing.
