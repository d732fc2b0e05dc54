//! What the client sends is what the bot sees, once: against everything that
//! clients do and everything that goes wrong.
//!
//! Random clients talk to gateways in front of a simulated Coze that keeps
//! conversations as the real one does and tells what its model was shown. The
//! ten thousand steps of the test command become as many as
//! `COZEWAY_TEST_STEPS` says; `COZEWAY_TEST_SEED` begins with another world,
//! and alone lives through that one. One world in three is over a Redis of its
//! own, if `COZEWAY_TEST_REDIS_SERVER` names the program of one; it is killed
//! again and again. With `COZEWAY_TEST_REDIS` alone, the URL of one, it stays
//! alive; without both, a file stands in for it. A history that breaks a
//! promise is shortened and printed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod backend;
mod call;
mod chance;
mod doubt;
mod expected;
mod found;
mod ledger;
mod link;
mod model;
mod random;
mod stage;
mod turn;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use world::Broken;

/// How many steps the test command takes.
const STEPS: usize = 10_000;

/// How many steps a world has.
const WORLD: usize = 200;

/// How many worlds live at a time: some of their time is waiting.
const AT_ONCE: usize = 6;

/// How many lines of a history are printed.
const LOG: usize = 150;

/// How long a history is shortened.
const SHORTENING: Duration = Duration::from_secs(60);

#[test]
fn what_the_client_sends_is_what_the_bot_sees_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("COZEWAY_TEST_SEED");
    let steps = number("COZEWAY_TEST_STEPS").unwrap_or(if first.is_some() { WORLD } else { STEPS } as u64);
    let (first, worlds) = (first.unwrap_or_default(), steps.div_ceil(WORLD as u64));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if std::env::var_os("COZEWAY_TEST_REDIS_SERVER").is_none() {
        eprintln!("left out: a Redis that is killed, since COZEWAY_TEST_REDIS_SERVER names no program");
    }
    runtime.block_on(async {
        let mut seeds = first..first + worlds;
        let (mut living, mut modes) = (JoinSet::new(), BTreeMap::<String, usize>::new());
        let mut begin = |living: &mut JoinSet<_>| {
            if let Some(seed) = seeds.next() {
                living.spawn(async move { (seed, world::live(seed, WORLD, &BTreeSet::new()).await) });
            }
        };
        (0..AT_ONCE).for_each(|_| begin(&mut living));
        while let Some(ended) = living.join_next().await {
            let (seed, result) = ended.unwrap();
            match result {
                Ok(said) => {
                    said.into_iter().for_each(|(mode, count)| *modes.entry(mode).or_default() += count)
                }
                Err(broken) => {
                    drop(living);
                    let broken = shortened(seed, *broken).await;
                    panic!("{}", report(seed, &broken));
                }
            }
            begin(&mut living);
        }
        eprintln!("{worlds} worlds of {WORLD} steps: {modes:?}");
        if worlds >= (STEPS / WORLD) as u64 {
            for mode in ["new", "continued", "resumed", "replayed", "rebuilt"] {
                let count = modes.get(mode).copied().unwrap_or_default();
                assert!(count > steps as usize / 500, "{mode} was hardly ever said: {modes:?}");
            }
        }
    });
}

/// Leaves out what a broken promise does not need.
async fn shortened(seed: u64, mut broken: Broken) -> Broken {
    let (begun, end) = (Instant::now(), broken.step + 1);
    let mut left_out = BTreeSet::new();
    let mut size = end.div_ceil(2);
    while size > 0 && begun.elapsed() < SHORTENING {
        let last = broken.step;
        let mut parts = (0..last).step_by(size).map(|at| at..(at + size).min(last));
        let mut trying = JoinSet::new();
        let mut shorter = false;
        loop {
            while trying.len() < AT_ONCE && begun.elapsed() < SHORTENING {
                let Some(part) = parts.next() else { break };
                let tried: BTreeSet<usize> = left_out.iter().copied().chain(part).collect();
                if tried.len() > left_out.len() {
                    trying.spawn(async move { (world::live(seed, end, &tried).await, tried) });
                }
            }
            let Some(tried) = trying.join_next().await else { break };
            if let (Err(again), tried) = tried.unwrap()
                && tried.len() > left_out.len()
            {
                (broken, left_out, shorter) = (*again, tried, true);
                trying = JoinSet::new();
            }
        }
        size = if shorter { size } else { size / 2 };
    }
    broken
}

fn report(seed: u64, broken: &Broken) -> String {
    let skipped = broken.log.len().saturating_sub(LOG);
    let log = broken.log[skipped..].join("\n");
    // What is wrong comes first: whoever shows only a part shows the beginning.
    let Broken { step, why, .. } = broken;
    format!("seed {seed}, step {step}: {why}\n\n{log}\n\n{why}\n\nAgain: COZEWAY_TEST_SEED={seed}")
}
