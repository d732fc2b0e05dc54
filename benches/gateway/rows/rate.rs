//! How much goes through one core.

use std::time::Duration;

use crate::answer::Void;
use crate::exchange::Asked;
use crate::load::{Job, Samples, interleave};
use crate::rows::Bench;
use crate::scenario::{BURST, Scenario};
use crate::servers::Server;
use crate::table::{Unit, at_least, combine};

pub(crate) async fn rates(bench: &mut Bench, nginx: &Server, cozeway: &Server) -> Result<(), Void> {
    let (rounds, time) = (bench.effort(15, 5), Duration::from_millis(800));
    for (what, scenario, clients, chunks, goal) in [
        ("req/s streamed", Scenario::One, 64, 1, at_least(0.45, 0.8)),
        ("chunks/s, 100-chunk streams", Scenario::Burst, 16, BURST, at_least(0.35, 0.5)),
    ] {
        let asked = Asked::streamed(scenario);
        let mut jobs = vec![
            Job::rate(nginx, asked, clients, time).await?,
            Job::rate(cozeway, asked, clients, time).await?,
        ];
        interleave(&mut jobs, rounds).await;
        let count = |job: &Job<'_>| -> Samples {
            job.samples().map(|all| all.iter().map(|rate| rate * chunks as f64).collect())
        };
        let [nginx, ours] = [count(&jobs[0]), count(&jobs[1])];
        let [nginx_busy, busy] = [&jobs[0], &jobs[1]].map(|job| Ok(job.busy.clone()));
        let name = format!("{what}, {clients} connections");
        let table = &mut bench.table;
        table.ratio(&name, Unit::PerSecond, &nginx, &ours, goal);
        // Far from 100 %, something else held it up.
        table.note("— the server's core was busy", Unit::Share, Some(&nginx_busy), &busy);
        let each = |rate: &Samples, busy: &Samples| combine(rate, busy, |rate, busy| rate / busy);
        let [nginx, ours] = [each(&nginx, &nginx_busy), each(&ours, &busy)];
        table.note("— for each second of its CPU time", Unit::PerSecond, Some(&nginx), &ours);
    }
    Ok(())
}
