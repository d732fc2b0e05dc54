//! Limits that several gateways hold together.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::super::shared::{Answer, Change, Counter, Reached, Shared, Take, Taken, Which};
use super::super::{Pending, Unavailable};
use super::link::Again;
use super::reply::odd;
use super::{Redis, millis};

/// The scripts of limits.
#[derive(Debug)]
pub(super) struct Limits {
    take: Script,
    note: Script,
}

impl Limits {
    pub(super) fn new() -> Self {
        let script = |step: &str| Script::new(&format!("{}\n{step}", include_str!("limits.lua")));
        Self { take: script(include_str!("take.lua")), note: script(include_str!("note.lua")) }
    }
}

impl Redis {
    /// Takes at a time of its own, in microseconds: for tests of the
    /// arithmetic. `None` is the server's clock.
    pub(super) async fn take_at(&self, take: Take, now: Option<u64>) -> Result<Answer, Unavailable> {
        let mut call = self.begin_at(&self.limits.take, now);
        call.arg(take.requests).arg(take.slots).arg(take.holder.to_string()).arg(millis(take.lease));
        for counter in &take.counters {
            call.arg(counter.name.as_str());
            for limit in [counter.requests, counter.tokens, counter.slots] {
                call.arg(limit.unwrap_or(0));
            }
        }
        // Taken twice would be taken from somebody else.
        let words: Vec<String> = self.link.call(&call, Again::No).await?;
        answer(&words, take.counters.len()).ok_or_else(odd)
    }

    /// See [`Self::take_at`].
    pub(super) async fn note_at(&self, changes: Vec<Change>, now: Option<u64>) -> Result<(), Unavailable> {
        let mut call = self.begin_at(&self.limits.note, now);
        for change in changes {
            add(&mut call, &change);
        }
        self.link.call::<u64>(&call, Again::No).await.map(drop)
    }

    fn begin_at<'a>(&self, script: &'a Script, now: Option<u64>) -> ScriptInvocation<'a> {
        let mut call = script.key(self.prefix.as_str());
        call.arg(now.map_or_else(String::new, |now| now.to_string()));
        call
    }
}

impl Shared for Redis {
    fn take(&self, take: Take) -> Pending<'_, Answer> {
        Box::pin(self.take_at(take, None))
    }

    fn note(&self, changes: Vec<Change>) -> Pending<'_, ()> {
        Box::pin(self.note_at(changes, None))
    }
}

fn add(call: &mut ScriptInvocation<'_>, change: &Change) {
    match change {
        Change::Release { holder, counters } => {
            call.arg("r").arg(holder.to_string()).arg(counters.len());
            for name in counters {
                call.arg(name.as_str());
            }
        }
        Change::Renew { holder, counters, lease } => {
            call.arg("k").arg(holder.to_string()).arg(millis(*lease)).arg(counters.len());
            for name in counters {
                call.arg(name.as_str());
            }
        }
        Change::Spend { counters, tokens } => {
            let limited = |counter: &&Counter| counter.tokens.is_some();
            call.arg("s").arg(*tokens).arg(counters.iter().filter(limited).count());
            for counter in counters.iter().filter(limited) {
                call.arg(counter.name.as_str()).arg(counter.tokens.unwrap_or(0));
            }
        }
    }
}

fn answer(words: &[String], counters: usize) -> Option<Answer> {
    let micros = |word: &String| Some(Duration::from_micros(word.parse().ok()?));
    let [way, which, wait, rest @ ..] = words else {
        return None;
    };
    let reached = match way.parse::<usize>().ok()?.checked_sub(1) {
        None => None,
        Some(counter) => {
            let which = match which.as_str() {
                "r" => Which::Requests,
                "t" => Which::Tokens,
                "s" => Which::Slots,
                _ => return None,
            };
            (counter < counters).then_some(Reached { counter, which, wait: micros(wait)? })
        }
    };
    let taken: Option<Vec<Taken>> = rest
        .chunks_exact(2)
        .map(|pair| match pair {
            [requests, tokens] => Some(Taken { requests: micros(requests)?, tokens: micros(tokens)? }),
            _ => None,
        })
        .collect();
    taken.filter(|taken| taken.len() == counters).map(|taken| Answer { reached, taken })
}

#[cfg(test)]
mod tests;
