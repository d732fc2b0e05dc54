//! The real binary over real sockets, in front of a simulated Coze.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod shared;
mod support;

mod access;
mod bot_view;
mod bots;
mod busy;
mod chatflows;
mod cleanup;
mod clocks;
mod codes;
mod commands;
mod conversations;
mod doctor;
mod extras;
mod faults;
mod leaving;
mod limits;
mod listener;
mod load;
mod logs;
mod malformed;
mod mcp;
mod metrics;
mod oauth;
mod openapi;
mod reload;
mod replicas;
mod secrets;
mod serving;
mod stopping;
mod streaming;
mod terminal;
mod tls;
mod tools;
mod uploads;
mod whole;
mod workflows;
