//! An OpenAI-compatible gateway in front of Coze bots.
//!
//! A request passes the modules in this order:
//!
//! ```text
//!  client ──▶ http ──▶ access ──▶ openai ──▶ catalog ──▶ relay ──▶ coze ──▶ Coze
//!             │        who?       what?      which bot?  run it    wire
//!             ◀────────────────── openai ◀─────────────  turn::Event ◀──────
//! ```
//!
//! `turn` holds the words that both dialects, `openai` and `coze`, speak;
//! they never name each other. `docs/architecture.md` walks through it.

pub mod access;
mod batch;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod coze;
pub mod http;
pub mod openai;
pub mod relay;
pub mod secret;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod turn;
