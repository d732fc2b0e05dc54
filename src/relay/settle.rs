//! What a chat has cost that nobody waits for any more.
//!
//! In comes a chat whose stream was left before Coze told its usage; it is
//! asked for until the run has ended, and charged. A few times only, of few
//! chats at once: what is not known by then is counted as unknown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::access::Meter;
use crate::coze::{Bearer, Target, retrieve};

use crate::turn::Usage;

/// How long to wait before each try: two minutes in all. The first comes
/// soon, for a chat that was as good as over.
const PAUSES: [Duration; 9] = {
    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }
    [ms(250), ms(500), ms(1000), ms(2000), ms(4000), ms(8000), ms(15_000), ms(30_000), ms(60_000)]
};

/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// A pause looks this often whether the gateway is stopping.
const SLICE: Duration = Duration::from_millis(250);

/// How many chats wait for a try. Past that their cost stays unknown: a flood
/// of hang-ups must not become one of questions.
const MAX_WAITING: usize = 4096;

/// How many tries run at once.
const MAX_CALLS: usize = 16;

/// Asks for what chats have cost.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    waiting: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// A chat whose cost is not known.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) target: Target,
    pub(super) bearer: Bearer,
    pub(super) conversation: String,
    pub(super) chat: String,
    /// What it has cost at least: counts if no more becomes known.
    pub(super) least: Option<Usage>,
}

impl Default for Settlement {
    fn default() -> Self {
        Self { waiting: Arc::new(Semaphore::new(MAX_WAITING)), calls: Arc::new(Semaphore::new(MAX_CALLS)) }
    }
}

impl Settlement {
    /// Charges a chat as soon as its cost is known.
    pub(super) fn begin(&self, tracker: &TaskTracker, chat: Chat, meter: Meter) {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        let (Ok(place), Ok(runtime)) = (place, tokio::runtime::Handle::try_current()) else {
            charge(meter, chat.least);
            return;
        };
        let calls = Arc::clone(&self.calls);
        let stopping = tracker.clone();
        let work = async move {
            let usage = ask(&chat, &calls, &stopping).await;
            charge(meter, usage.or(chat.least));
            drop(place);
        };
        tracker.spawn_on(work, &runtime);
    }
}

/// Charges what is known.
pub(super) fn charge(meter: Meter, usage: Option<Usage>) {
    match usage {
        Some(usage) => meter.charge(usage.total(), Instant::now().into_std()),
        None => meter.unknown(),
    }
}

async fn ask(chat: &Chat, calls: &Semaphore, stopping: &TaskTracker) -> Option<Usage> {
    let client = &chat.target.deployment.client;
    let call = retrieve::retrieve(&chat.conversation, &chat.chat);
    let mut known = None;
    for pause in PAUSES {
        let until = Instant::now() + pause;
        while !stopping.is_closed() && Instant::now() < until {
            tokio::time::sleep(SLICE.min(until - Instant::now())).await;
        }
        // Asked once more; a gateway that stops waits for no run to end.
        let last = stopping.is_closed();
        let turn = calls.acquire().await;
        let answer = tokio::time::timeout(TRY_TIMEOUT, chat.bearer.fetch(client, &call)).await;
        drop(turn);
        match answer.map(|answer| answer.map(|body| retrieve::state(&body))) {
            Ok(Ok(Some(state))) => {
                known = state.usage.or(known);
                if !state.running {
                    break;
                }
            }
            Ok(Err(failure)) => tracing::debug!(%failure, "the cost of a chat could not be asked for"),
            Ok(Ok(None)) | Err(_) => {}
        }
        if last {
            break;
        }
    }
    known
}
