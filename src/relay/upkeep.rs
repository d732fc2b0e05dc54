//! What keeps the memory in order while the gateway runs: leases of turns
//! that go on are renewed, what nobody has used for long is forgotten.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::access::{Limits, SLOT_LEASE};
use crate::conversation::{Conversations, RENEWAL, Record};

/// How often is looked how much there is, and whether the store is there.
const LOOK: Duration = Duration::from_secs(5);

/// How often what has expired is forgotten.
const PURGE: Duration = Duration::from_secs(60);

/// How many entries are forgotten in one step.
const STEP: usize = 200;

/// How long a step may take, whatever the store does.
const LIMIT: Duration = Duration::from_secs(5);

/// Has limits hold together with other gateways, for as long as it is polled.
pub async fn share(limits: &Limits) -> Infallible {
    let renewing = async {
        loop {
            tokio::time::sleep(SLOT_LEASE / 3).await;
            limits.renew_slots();
        }
    };
    tokio::select! {
        never = limits.share() => never,
        never = renewing => never,
    }
}

/// Keeps a memory in order for as long as it is polled. `expired` is given
/// what was forgotten.
pub async fn keep(memory: &Conversations, mut expired: impl FnMut(Record)) -> Infallible {
    let start = Instant::now();
    let (mut look, mut renew, mut purge) = (start, start + RENEWAL, start + PURGE);
    loop {
        sleep_until(look.min(renew).min(purge)).await;
        let now = Instant::now();
        if now >= renew {
            renew = now + RENEWAL;
            let _ = tokio::time::timeout(LIMIT, memory.renew()).await;
        }
        if now >= look {
            look = now + LOOK;
            let _ = tokio::time::timeout(LIMIT, memory.look()).await;
        }
        if now >= purge {
            let done = tokio::time::timeout(LIMIT, memory.purge(STEP)).await;
            let records = done.ok().and_then(Result::ok).unwrap_or_default();
            // A whole step means that there may be more: soon, but not at
            // once, so that turns come first.
            let pause = if records.len() < STEP { PURGE } else { LOOK / 10 };
            purge = now + pause;
            records.into_iter().for_each(&mut expired);
        }
    }
}
