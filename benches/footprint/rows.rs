//! What is measured, row by row.

use std::time::Duration;

use bytes::Bytes;
use cozeway::simulator::{Script, Step};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::answers::{
    WORD, ask, ask_coze, completed, converse, delta, deltas, large_delta, paced, read_until, request, short,
};
use crate::process::{Gateway, file_limit};
use crate::report::{median, percentile, spread};
use crate::{BOT, Bench};

/// How often a CPU figure is taken; the median counts.
const ROUNDS: usize = 5;

/// How many clients ask at a time where CPU is measured.
const CLIENTS: usize = 8;

/// What a client looks for in a stream.
const CONTENT: &[u8] = b"\"content\":\" word\"";

impl Bench {
    /// From now on the bot answers so.
    fn script(&self, script: Script) {
        self.coze.unscript(BOT);
        self.coze.script(BOT, script);
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().unwrap()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// From the start of the process to its first whole answer, and what it
/// holds then.
pub(crate) async fn start(bench: &mut Bench) {
    bench.script(short());
    let body = request(false, 0);
    let (mut times, mut fresh, mut anonymous, mut used) = (vec![], vec![], vec![], vec![]);
    for _ in 0..10 {
        let gateway = Gateway::start(bench).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        fresh.push(gateway.memory().all as f64 / 1024.0);
        anonymous.push(gateway.memory().anonymous as f64 / 1024.0);
        gateway.end().await;

        let client = client();
        let gateway = Gateway::start(bench).await;
        converse(&client, &gateway, &body, false, WORD).await;
        times.push(milliseconds(gateway.spawned));
        used.push(gateway.memory().all as f64 / 1024.0);
        gateway.end().await;
    }
    let table = &mut bench.table;
    table.row("start to first whole answer", format!("{:.1} ms", median(&mut times)), spread(&mut times, 1));
    let note = format!("{}; {:.1} of it anonymous", spread(&mut fresh, 1), median(&mut anonymous));
    table.row("RSS, idle", format!("{:.1} MiB", median(&mut fresh)), note);
    table.row("RSS after one request", format!("{:.1} MiB", median(&mut used)), spread(&mut used, 1));
}

/// Opens streams that have said something and hang, 50 at a time.
async fn hold(
    client: &reqwest::Client,
    gateway: &Gateway,
    count: usize,
    words: usize,
) -> Vec<reqwest::Response> {
    let body = request(true, 0);
    let mut held = Vec::new();
    while held.len() < count {
        let more = (0..50.min(count - held.len())).map(|_| async {
            let mut response = ask(client, gateway, &body).await;
            read_until(&mut response, CONTENT, words).await;
            response
        });
        held.extend(join_all(more).await);
    }
    held
}

/// What a stream costs while nothing comes.
pub(crate) async fn held(bench: &mut Bench) {
    let (at_once, slowly) = (Duration::ZERO, Duration::from_millis(5));
    for (count, words, pause) in [
        (1000, 1, at_once),
        (3000, 1, at_once),
        (9000, 1, at_once),
        (1000, 100, slowly),
        (1000, 100, at_once),
    ] {
        // Two sockets of each stream are this process's: the client's, and the
        // simulated Coze's. The gateway has two as well.
        if file_limit() < 2 * count + 500 {
            bench.table.row(
                &format!("RSS per held stream, {count} held"),
                "-".to_owned(),
                "too few files allowed",
            );
            continue;
        }
        let mut steps = vec![Step::Send(delta())];
        for _ in 1..words {
            if !pause.is_zero() {
                steps.push(Step::Sleep(pause));
            }
            steps.push(Step::Send(delta()));
        }
        steps.push(Step::Hang);
        let mut samples = vec![];
        for _ in 0..3 {
            bench.script(short());
            let client = client();
            let gateway = Gateway::start(bench).await;
            converse(&client, &gateway, &request(true, 0), true, WORD).await;
            let before = gateway.memory().all;
            bench.script(Script::stream(steps.clone()));
            let held = hold(&client, &gateway, count, words).await;
            assert_eq!(bench.coze.open_streams(), count);
            tokio::time::sleep(Duration::from_millis(300)).await;
            samples.push((gateway.memory().all - before) as f64 / count as f64);
            drop(held);
            gateway.end().await;
            let emptied = bench.coze.clone();
            wait_for(|| emptied.open_streams() == 0).await;
        }
        let said = match (words, pause.as_millis()) {
            (1, _) => String::new(),
            (_, 0) => format!(", after {words} chunks at once"),
            (_, pause) => format!(", after {words} chunks {pause} ms apart"),
        };
        let what = format!("RSS per held stream, {count} held{said}");
        bench.table.row(&what, format!("{:.1} KiB", median(&mut samples)), spread(&mut samples, 1));
    }
}

async fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it does not come to be within 10 s");
}

/// Half of the clients leave: how soon that has reached Coze.
pub(crate) async fn leave(bench: &mut Bench) {
    let (mut times, mut files) = (vec![], 0);
    for _ in 0..ROUNDS {
        bench.script(Script::stream([Step::Send(delta()), Step::Hang]));
        let client = client();
        let gateway = Gateway::start(bench).await;
        let at_first = gateway.open_files();
        let mut held = hold(&client, &gateway, 1000, 1).await;
        let began = Instant::now();
        held.truncate(500);
        wait_for(|| bench.coze.open_streams() <= 500).await;
        times.push(milliseconds(began));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(bench.coze.open_streams(), 500, "the others stay");
        drop(held);
        wait_for(|| bench.coze.open_streams() == 0).await;
        wait_for(|| gateway.open_files() <= at_first).await;
        files = gateway.open_files() - at_first;
        gateway.end().await;
    }
    let note = format!("{}; {files} sockets left", spread(&mut times, 0));
    bench.table.row("500 of 1,000 clients leave: chats freed", format!("{:.0} ms", median(&mut times)), note);
}

/// What the gateway adds to the wait for the first content.
pub(crate) async fn first_content(bench: &mut Bench) {
    bench.script(paced(3, Duration::ZERO));
    let (near, far) = (client(), client());
    let gateway = Gateway::start(bench).await;
    let body = request(true, 0);
    let (mut direct, mut through) = (vec![], vec![]);
    for round in 0..220 {
        let began = Instant::now();
        let mut response = ask_coze(&near, bench.port).await;
        read_until(&mut response, CONTENT, 1).await;
        let time = milliseconds(began);
        response.bytes().await.unwrap();

        let began = Instant::now();
        let mut response = ask(&far, &gateway, &body).await;
        read_until(&mut response, CONTENT, 1).await;
        let far_time = milliseconds(began);
        response.bytes().await.unwrap();
        if round >= 20 {
            direct.push(time);
            through.push(far_time);
        }
    }
    gateway.end().await;
    let (plain, ours) = (median(&mut direct), median(&mut through));
    let note = format!(
        "{plain:.2} ms direct, {ours:.2} through; p95 {:.2} and {:.2}",
        percentile(&mut direct, 0.95),
        percentile(&mut through, 0.95)
    );
    bench.table.row("time to first content, added", format!("{:.2} ms", ours - plain), note);
}

/// The gateway's CPU for one request, in microseconds: the median of rounds
/// in which eight clients share this many.
async fn cost(gateway: &Gateway, body: &Bytes, stream: bool, expected: &str, requests: usize) -> Vec<f64> {
    let client = client();
    let clients = CLIENTS.min(requests);
    let run = |each: usize| {
        let client = &client;
        join_all((0..clients).map(move |_| async move {
            for _ in 0..each {
                converse(client, gateway, body, stream, expected).await;
            }
        }))
    };
    // Connections, caches and branches are warm.
    run((requests / clients / 10).max(1)).await;
    let mut samples = vec![];
    for _ in 0..ROUNDS {
        let before = gateway.cpu();
        run(requests / clients).await;
        // The last line of log may come after the last byte.
        tokio::time::sleep(Duration::from_millis(20)).await;
        samples.push((gateway.cpu() - before) / (requests / clients * clients) as f64);
    }
    samples
}

/// CPU of requests and of chunks.
pub(crate) async fn cpu(bench: &mut Bench) {
    let gateway = Gateway::start(bench).await;
    bench.script(short());
    let mut whole = cost(&gateway, &request(false, 0), false, WORD, 2000).await;
    let note = spread(&mut whole, 0);
    bench.table.row("CPU per whole request", format!("{:.0} µs", median(&mut whole)), note);

    let streamed = request(true, 0);
    let mut one = cost(&gateway, &streamed, true, WORD, 2000).await;
    let note = spread(&mut one, 0);
    let one_chunk = median(&mut one);
    bench.table.row("CPU per streamed request, 1 chunk", format!("{one_chunk:.0} µs"), note);

    let many = WORD.repeat(100);
    let burst = Script::stream([deltas(100), completed()]);
    let bursts = [
        ("in one write of Coze's", burst, 800),
        ("in 100 writes at once", paced(100, Duration::ZERO), 800),
        ("1 ms apart", paced(100, Duration::from_millis(1)), 160),
    ];
    for (how, script, requests) in bursts {
        bench.script(script);
        let mut samples = cost(&gateway, &streamed, true, &many, requests).await;
        let mut chunks: Vec<f64> = samples.drain(..).map(|cost| (cost - one_chunk) / 99.0).collect();
        let note = spread(&mut chunks, 2);
        let what = format!("CPU per further chunk, 100 {how}");
        bench.table.row(&what, format!("{:.2} µs", median(&mut chunks)), note);
    }
    let memory = gateway.memory().all as f64 / 1024.0;
    bench.table.row("RSS after all these requests", format!("{memory:.1} MiB"), "");
    gateway.end().await;
}

/// What grows with the size of an event, their count, and the history.
pub(crate) async fn large(bench: &mut Bench) {
    let gateway = Gateway::start(bench).await;
    let streamed = request(true, 0);
    let mut costs = vec![];
    for mebibytes in [1, 8, 16] {
        bench.script(Script::stream([large_delta(mebibytes << 20), completed()]));
        let expected = "0123456789abcde ".repeat((mebibytes << 16) as usize);
        costs.push(median(&mut cost(&gateway, &streamed, true, &expected, 4).await));
    }
    let table = &mut bench.table;
    table.row("CPU, one delta of 1 MiB", format!("{:.2} ms", costs[0] / 1e3), "");
    let note = format!("{:.1} ms for 8 MiB, {:.1} ms for 16 MiB", costs[1] / 1e3, costs[2] / 1e3);
    table.row("a delta of 16 MiB to one of 1 MiB", format!("{:.1} ×", costs[2] / costs[0]), note.clone());
    table.row("a delta of 16 MiB to one of 8 MiB", format!("{:.1} ×", costs[2] / costs[1]), note);

    let mut costs = vec![];
    for count in [10_000, 100_000] {
        bench.script(Script::stream([deltas(count), completed()]));
        costs.push(median(&mut cost(&gateway, &streamed, true, &WORD.repeat(count as usize), 4).await));
    }
    let note = format!("{:.1} ms and {:.1} ms", costs[0] / 1e3, costs[1] / 1e3);
    bench.table.row("100,000 deltas to 10,000", format!("{:.1} ×", costs[1] / costs[0]), note);

    bench.script(short());
    let mut costs = vec![];
    for messages in [0, 500, 5000] {
        costs.push(median(&mut cost(&gateway, &request(false, messages), false, WORD, 80).await));
    }
    let (less, more) = (costs[1] - costs[0], costs[2] - costs[0]);
    let note = format!("{less:.0} µs and {more:.0} µs beyond a request of one message");
    bench.table.row("5,000 messages of history to 500", format!("{:.1} ×", more / less), note);
    let memory = gateway.memory().all as f64 / 1024.0;
    bench.table.row("RSS after all of that", format!("{memory:.1} MiB"), "");
    gateway.end().await;
}

/// The program on disk.
pub(crate) fn size(bench: &mut Bench) {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_cozeway")).unwrap().len();
    bench.table.row("size of the program", format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64), "stripped");
}
