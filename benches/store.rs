//! What the stores cost: CPU, time and bytes of a step.
//!
//! `cargo bench --bench store` measures memory and a file in the temporary
//! folder; with `COZEWAY_TEST_REDIS`, the URL of a Redis, that too (what the
//! server costs is not in it, and what is left there it forgets in a day).
//! Words after `--` measure the stores whose names begin so; a number, with at
//! most so many entries.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement that cannot go on says so and ends"
)]

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cozeway::secret::Secret;
use cozeway::store::memory::Memory;
use cozeway::store::redis::Redis;
use cozeway::store::sqlite::Sqlite;
use cozeway::store::{By, Claimed, Entry, Id, Key, Outcome, Settled, Store};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio::time::Instant;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const LEASE: Duration = Duration::from_secs(60);

/// What a request costs beside its steps.
const WORK: Duration = Duration::from_micros(45);

/// Turns choose among so many of the newest conversations.
const RECENT: u64 = 5_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As a test target, only that it builds is of interest.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let most = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let is_meant = |name: &str| {
        let mut names = words.iter().filter(|word| word.parse::<u64>().is_err()).peekable();
        names.peek().is_none() || names.any(|word| name.starts_with(word))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("store   entries  at once   insert            claim and settle");
    for entries in [0, 100_000, 1_000_000] {
        if entries <= most && is_meant("memory") {
            runtime.block_on(measure(
                "memory",
                Arc::new(Memory::bounded(MONTH, 2_000_000).unwrap()),
                entries,
            ));
        }
        if entries <= most && is_meant("sqlite") {
            file(&runtime, entries);
        }
    }
    if let Ok(url) = std::env::var("COZEWAY_TEST_REDIS")
        && is_meant("redis")
    {
        let prefix = format!("cozeway-bench-{}:", std::process::id());
        let store = Redis::new(&Secret::new(url), &prefix, Duration::from_secs(60)).unwrap();
        runtime.block_on(measure("redis", Arc::new(store), 0));
    }
}

fn file(runtime: &tokio::runtime::Runtime, entries: u64) {
    let path = std::env::temp_dir().join(format!("cozeway-bench-{}.db", std::process::id()));
    remove(&path);
    runtime.block_on(measure("sqlite", Arc::new(Sqlite::open(&path, MONTH).unwrap()), entries));
    let size = std::fs::metadata(&path).unwrap().len();
    let before = anonymous();
    let start = Instant::now();
    let store = Sqlite::open(&path, MONTH).unwrap();
    let took = start.elapsed();
    let counts = runtime.block_on(store.counts()).unwrap();
    println!(
        "        opening {} entries takes {took:.2?} and {} MB; {} bytes an entry",
        counts.entries,
        anonymous().saturating_sub(before) / 1_000_000,
        size / counts.entries,
    );
    drop(store);
    remove(&path);
}

fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(PathBuf::from(format!("{}{ending}", path.display())));
    }
}

/// The memory of this process that is in no file.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1000
}

/// Entries by their numbers, and how many turns the newest have had.
struct World {
    store: Arc<dyn Store>,
    next: AtomicU64,
    turns: AtomicU64,
}

async fn measure(name: &str, store: Arc<dyn Store>, entries: u64) {
    let world = Arc::new(World { store, next: AtomicU64::new(0), turns: AtomicU64::new(0) });
    repeat(&world, 256, entries, insert).await;
    for tasks in [1, 64] {
        let steps = if tasks == 1 { 5_000 } else { 50_000 };
        let inserts = repeat(&world, tasks, steps, insert).await;
        world.turns.store(0, Ordering::Relaxed);
        let turns = repeat(&world, tasks, steps, turn).await;
        println!("{name}  {entries:>8}  {tasks:>7}   {inserts}   {turns}");
    }
    // As in a gateway: most of the time goes elsewhere.
    let inserts = repeat(&world, 64, 20_000, beside(insert)).await;
    world.turns.store(0, Ordering::Relaxed);
    let turns = repeat(&world, 64, 20_000, beside(turn)).await;
    let bare = repeat(&world, 64, 20_000, beside(nothing)).await;
    println!("{name}  {entries:>8}     busy   {inserts}   {turns}   (without {bare})");
}

/// Takes steps in so many tasks at once; what each has cost.
async fn repeat<F>(world: &Arc<World>, tasks: u64, steps: u64, step: impl Fn(Arc<World>) -> F) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let (cpu, start) = (cpu(), Instant::now());
    let mut running = JoinSet::new();
    let mut left = steps;
    while left > 0 || !running.is_empty() {
        while left > 0 && running.len() < tasks as usize {
            // A task takes several steps, since a task has its cost too.
            let some = left.min(50);
            left -= some;
            let steps: Vec<F> = (0..some).map(|_| step(Arc::clone(world))).collect();
            running.spawn(async move {
                for step in steps {
                    step.await;
                }
            });
        }
        running.join_next().await.unwrap().unwrap();
    }
    // Comes behind all that was inserted.
    world.store.counts().await.unwrap();
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / steps.max(1) as f64;
    format!("{:5.2} µs CPU, {:6.2} µs", each(self::cpu() - cpu), each(start.elapsed()))
}

/// A step after other work.
fn beside<F>(
    step: impl Fn(Arc<World>) -> F + Copy + Send + 'static,
) -> impl Fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    F: Future<Output = ()> + Send + 'static,
{
    move |world| {
        Box::pin(async move {
            let start = thread_cpu();
            while thread_cpu() - start < WORK {}
            step(world).await;
        })
    }
}

async fn nothing(_: Arc<World>) {
    tokio::task::yield_now().await;
}

async fn insert(world: Arc<World>) {
    let number = world.next.fetch_add(1, Ordering::Relaxed);
    // A file is written later, and refuses what its thread cannot keep up with.
    while world.store.insert(entry(number, 0)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Continues one of the recent conversations.
async fn turn(world: Arc<World>) {
    let turn = world.turns.fetch_add(1, Ordering::Relaxed);
    let newest = world.next.load(Ordering::Relaxed);
    let number = newest - 1 - spread(turn, RECENT);
    let round = turn / RECENT;
    let by = By::Head { head: key(number, round), root: key(number, u64::MAX) };
    match world.store.claim(by, LEASE).await.unwrap() {
        Claimed::Lent { lease, entry: known, .. } => {
            let entry = Entry { value: known.value, ..entry(number, round + 1) };
            assert_eq!(world.store.settle(lease, Outcome::Keep(entry)).await.unwrap(), Settled::Done);
        }
        other => panic!("{number} in round {round}: {other:?}"),
    }
}

/// Goes through all numbers below `count` without an order.
fn spread(number: u64, count: u64) -> u64 {
    number.wrapping_mul(7_919) % count
}

fn entry(number: u64, round: u64) -> Entry {
    Entry {
        id: Id(key(number, u64::MAX - 1)),
        space: key(number % 50, u64::MAX - 2),
        head: Some(key(number, round)),
        name: None,
        root: Some(key(number, u64::MAX)),
        // As long as a record is.
        value: vec![b'x'; 160],
    }
}

/// Something like a hash.
fn key(number: u64, kind: u64) -> Key {
    let mut key = [0; 16];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for bytes in key.chunks_mut(8) {
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
        bytes.copy_from_slice(&state.to_be_bytes());
    }
    key
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What all threads of this process have cost.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
