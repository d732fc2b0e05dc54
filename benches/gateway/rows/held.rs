//! Streams that are held while nothing comes.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::time::sleep;

use crate::answer::Void;
use crate::exchange::{Asked, Connection, Question};
use crate::load::Samples;
use crate::rows::Bench;
use crate::scenario::Scenario;
use crate::servers::Server;
use crate::table::{Unit, at_most};

/// How many are opened at once.
const AT_ONCE: usize = 50;

/// Holds streams, each of a client of its own that has read words.
pub(crate) async fn hold(server: &Server, count: usize) -> Result<Vec<Connection>, Void> {
    let question = Question::new(&server.target, Asked::streamed(Scenario::Held));
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE.min(count - held.len()) {
            let question = question.clone();
            opening.spawn(async move {
                let mut connection = Connection::open(&question).await?;
                connection.hold().await?;
                Ok::<_, Void>(connection)
            });
        }
        while let Some(opened) = opening.join_next().await {
            held.push(opened.map_err(|error| Void::new(error.to_string()))??);
        }
    }
    Ok(held)
}

/// What each of so many takes, in KiB.
pub(crate) async fn memory(bench: &mut Bench) {
    for (count, rounds) in [(1000, bench.effort(3, 2)), (9000, bench.effort(3, 1))] {
        let mut samples: Samples = Ok(vec![]);
        for _ in 0..rounds {
            match (once(bench, count).await, &mut samples) {
                (Ok(sample), Ok(samples)) => samples.push(sample),
                (Err(why), _) => samples = Err(why.0),
                (_, Err(_)) => {}
            }
        }
        let name = format!("RSS per held stream, {count} held");
        bench.table.value(&name, Unit::KiB, &samples, at_most(28.0, 24.0));
    }
}

async fn once(bench: &Bench, count: usize) -> Result<f64, Void> {
    // Each stream takes two of the gateway's.
    let needed = 2 * count as u64 + 400;
    if getrlimit(Resource::Nofile).current.is_some_and(|allowed| allowed < needed) {
        return Err(Void::new(format!("it needs {needed} open files: raise ulimit -n")));
    }
    let cozeway = bench.programs.cozeway(&bench.mock)?;
    let warm = Question::new(&cozeway.target, Asked::streamed(Scenario::One));
    Connection::open(&warm).await?.ask().await?;
    let before = cozeway.process.rss()?;
    let held = hold(&cozeway, count).await?;
    sleep(Duration::from_millis(300)).await;
    if bench.mock.counts().await?.held != count {
        return Err(Void::new("not all streams are held"));
    }
    let grown = (cozeway.process.rss()? - before) / count as f64;
    drop(held);
    bench.mock.wait_for_held(0).await?;
    Ok(grown)
}
