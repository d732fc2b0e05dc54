//! What is remembered, looked at when somebody asks.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The memory of conversations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Whether the state store answers.
    pub up: bool,
    /// How many conversations are remembered.
    pub entries: u64,
    /// How many of them have a name.
    pub named: u64,
    /// How many were forgotten since nobody had used them for long.
    pub expired: u64,
    /// How many new ones the state store could not write after all.
    pub lost: u64,
    /// How many conversations of Coze's were deleted.
    pub deleted: u64,
    /// How many could not be, and why.
    pub undeleted: [(&'static str, u64); 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cleaned {
    result: &'static str,
}

/// Adds the memory to what is encoded.
pub(super) fn register(registry: &mut Registry, memory: &Memory) {
    let gauge = |value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    let help = "Whether the state store answered when it was last asked";
    registry.register("state_store_up", help, gauge(u64::from(memory.up)));
    registry.register("conversations", "Conversations that are remembered", gauge(memory.entries));
    let help = "Conversations that are remembered and have a name";
    registry.register("named_conversations", help, gauge(memory.named));
    let counter = |value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        counter
    };
    let help = "Conversations that were forgotten since nobody had used them for long";
    registry.register("expired_conversations", help, counter(memory.expired));
    let help = "New conversations that the state store could not write after their answers had gone";
    registry.register("lost_conversations", help, counter(memory.lost));
    let cleaned = Family::<Cleaned, Counter>::default();
    let all = [("deleted", memory.deleted)].into_iter().chain(memory.undeleted);
    for (result, count) in all {
        cleaned.get_or_create(&Cleaned { result }).inc_by(count);
    }
    let help = "Conversations of Coze's that were to be deleted, by what came of it";
    registry.register("cleaned_conversations", help, cleaned);
}
