//! How long one waits: for the first words, and for a gateway that starts.

use tokio::time::{Instant, sleep};

use std::time::Duration;

use crate::answer::Void;
use crate::exchange::{Asked, Connection, Question, Target};
use crate::load::Samples;
use crate::rows::Bench;
use crate::scenario::Scenario;
use crate::servers::Server;
use crate::table::{Unit, at_most, combine, median};

/// How many questions make one sample.
const GROUP: usize = 20;

/// The first words of an answer, of one client at a time.
pub(crate) async fn first_words(bench: &mut Bench, nginx: &Server, cozeway: &Server) -> Result<(), Void> {
    let groups = bench.effort(60, 20);
    let (mock, coze) = (&bench.mock.target, bench.mock.as_coze());
    let targets = [mock, &nginx.target, &coze, &cozeway.target];
    let [direct, nginxs, direct_coze, ours] = times(targets, Scenario::One, groups).await;
    let added = |through: &Samples, direct: &Samples| combine(through, direct, |a, b| a - b);
    let (a, b) = (added(&nginxs, &direct), added(&ours, &direct_coze));
    let [_, burst, _, our_burst] = times(targets, Scenario::Burst, groups).await;
    let table = &mut bench.table;
    let unit = Unit::Microseconds;
    table.ratio("time to first content added, one connection", unit, &a, &b, at_most(1.25, 1.1));
    table.note("— without a proxy (OpenAI's, Coze's stream)", unit, Some(&direct), &direct_coze);
    table.ratio("time to first content of a 100-chunk burst", unit, &burst, &our_burst, at_most(1.5, 1.3));
    Ok(())
}

/// Asks four targets by turns; gives the medians of small groups.
async fn times(targets: [&Target; 4], scenario: Scenario, groups: usize) -> [Samples; 4] {
    let mut samples: [Samples; 4] = std::array::from_fn(|_| Ok(vec![]));
    let mut connections = vec![];
    for target in targets {
        connections.push(Connection::open(&Question::new(target, Asked::streamed(scenario))).await);
    }
    for group in 0..=groups {
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..GROUP {
            for ((connection, times), samples) in connections.iter_mut().zip(&mut times).zip(&mut samples) {
                let time = match connection {
                    Ok(connection) => connection.ask_timed().await,
                    Err(why) => Err(Void::new(why.0.clone())),
                };
                match time {
                    Ok(time) => times.push(time.as_secs_f64() * 1e6),
                    Err(why) => *samples = Err(why.0),
                }
            }
        }
        for (samples, times) in samples.iter_mut().zip(&times) {
            if let Ok(samples) = samples
                && group > 0
            {
                samples.push(median(times));
            }
        }
    }
    samples
}

/// From the start of the program to its first answer.
pub(crate) async fn start(bench: &mut Bench) -> Result<(), Void> {
    let mut times = vec![];
    for _ in 0..bench.effort(15, 7) {
        let cozeway = bench.programs.cozeway(&bench.mock)?;
        let question = Question::new(&cozeway.target, Asked::streamed(Scenario::One));
        Connection::open(&question).await?.ask().await?;
        times.push(cozeway.process.spawned.elapsed().as_secs_f64() * 1e3);
    }
    bench.table.value("start to first good answer", Unit::Milliseconds, &Ok(times), at_most(20.0, 10.0));
    Ok(())
}

/// How soon Coze is rid of clients that have left.
pub(crate) async fn leave(bench: &mut Bench) -> Result<(), Void> {
    let mut times = vec![];
    for _ in 0..bench.effort(5, 3) {
        let cozeway = bench.programs.cozeway(&bench.mock)?;
        let held = super::held::hold(&cozeway, 1000).await?;
        sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        drop(held);
        bench.mock.wait_for_held(0).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let name = "upstream freed after 1,000 clients leave";
    bench.table.value(name, Unit::Milliseconds, &Ok(times), at_most(1000.0, 500.0));
    Ok(())
}
