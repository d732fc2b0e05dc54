//! What every store promises, one behaviour a test, and what files and
//! servers have to stand on top of that.
//!
//! Each test of the promise runs for every store. `COZEWAY_TEST_REDIS`, the
//! URL of a Redis or Valkey server, adds that one; its keys all begin with a
//! prefix of their own and are removed. `COZEWAY_TEST_REDIS_SERVER`, the
//! program of such a server, adds what happens when one is started and killed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    reason = "tests"
)]

mod cache;
mod claims;
mod file;
mod leases;
mod model;
mod server;
mod stage;
mod upkeep;

#[path = "../support/mod.rs"]
mod support;
