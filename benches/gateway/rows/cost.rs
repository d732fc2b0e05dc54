//! CPU, by the kernel's count of the server's threads.

use std::time::Duration;

use crate::answer::Void;
use crate::exchange::{Asked, Target};
use crate::load::{Job, Samples, interleave};
use crate::rows::Bench;
use crate::scenario::{BURST, PACED, PAUSE_MS, Scenario};
use crate::servers::{FORGETFUL, Server};
use crate::table::{Unit, at_most, combine};

/// How many clients ask at once.
const CLIENTS: usize = 8;

/// How many paced streams there are.
const STREAMS: usize = 64;

/// Requests, chunks of a burst, and what a history adds.
pub(crate) async fn requests(bench: &mut Bench, nginx: &Server, cozeway: &Server) -> Result<(), Void> {
    let (rounds, each) = (bench.effort(41, 11), 150);
    let history = |suffix| Asked { history: 50, suffix, ..Asked::whole(Scenario::One) };
    let forgetful = Asked { suffix: FORGETFUL, ..Asked::whole(Scenario::One) };
    let (whole, one, burst) =
        (Asked::whole(Scenario::One), Asked::streamed(Scenario::One), Asked::streamed(Scenario::Burst));
    let upstream = Target { is_coze: true, ..nginx.target.clone() };
    let mut jobs = vec![Job::cost(nginx, &upstream, one, CLIENTS, each).await?];
    for (server, asked, each) in [
        (nginx, whole, each),
        (cozeway, whole, each),
        (nginx, one, each),
        (cozeway, one, each),
        (nginx, burst, each / 3),
        (cozeway, burst, each / 3),
        (cozeway, history(""), each),
        (cozeway, forgetful, each),
        (cozeway, history(FORGETFUL), each),
        (cozeway, Asked { suffix: FORGETFUL, ..one }, each),
    ] {
        jobs.push(Job::cost(server, &server.target, asked, CLIENTS, each).await?);
    }
    interleave(&mut jobs, rounds).await;
    let samples: Vec<Samples> = jobs.iter().map(Job::samples).collect();
    let [
        coze,
        whole,
        our_whole,
        one,
        our_one,
        burst,
        our_burst,
        long,
        forgetful,
        long_forgetful,
        one_forgetful,
    ] = samples.as_slice()
    else {
        return Err(Void::new("as many samples as jobs"));
    };

    let table = &mut bench.table;
    let unit = Unit::Microseconds;
    table.ratio("CPU, plain request of one chunk", unit, whole, our_whole, at_most(2.2, 1.4));
    table.ratio("CPU, streamed request of one chunk", unit, one, our_one, at_most(2.2, 1.4));
    table.note("— nginx passing Coze's stream instead", unit, Some(coze), our_one);
    let times = |ours, forgetful| combine(ours, forgetful, |ours, forgetful| ours / forgetful);
    let name = "CPU, streamed request / the same with memory = \"off\"";
    table.value(name, Unit::Times, &times(our_one, one_forgetful), at_most(1.15, 1.05));
    table.note("— with memory = \"off\"", unit, None, one_forgetful);
    let further = |burst, one| combine(burst, one, |burst, one| (burst - one) / (BURST - 1) as f64);
    let name = format!("CPU, each further chunk of a {BURST}-chunk burst");
    table.ratio(&name, unit, &further(burst, one), &further(our_burst, our_one), at_most(3.5, 2.0));
    let added = |long, short| combine(long, short, |long, short| long - short);
    let name = "CPU added by 50 history messages (6 KB)";
    table.value(name, unit, &added(long, our_whole), at_most(25.0, 15.0));
    table.note("— the same with memory = \"off\"", unit, None, &added(long_forgetful, forgetful));
    table.note("— plain request with memory = \"off\"", unit, None, forgetful);
    Ok(())
}

/// Chunks that come one at a time.
pub(crate) async fn paced(bench: &mut Bench, nginx: &Server, cozeway: &Server) -> Result<(), Void> {
    let asked = Asked::streamed(Scenario::Paced);
    let stagger = Duration::from_micros(PAUSE_MS * 1000 / STREAMS as u64);
    let mut jobs = vec![];
    for server in [nginx, cozeway] {
        jobs.push(Job::cost(server, &server.target, asked, STREAMS, 1).await?.staggered(stagger));
    }
    interleave(&mut jobs, bench.effort(15, 5)).await;
    let each = |job: &Job<'_>| job.samples().map(|all| all.iter().map(|cost| cost / PACED as f64).collect());
    let [nginx, ours] = [each(&jobs[0]), each(&jobs[1])];
    let name = format!("CPU, paced chunk ({STREAMS} streams, {PACED} chunks {PAUSE_MS} ms apart)");
    bench.table.ratio(&name, Unit::Microseconds, &nginx, &ours, at_most(1.25, 1.1));
    Ok(())
}

/// What grows with the size of an event.
pub(crate) async fn large(bench: &mut Bench, nginx: &Server, cozeway: &Server) -> Result<(), Void> {
    let upstream = Target { is_coze: true, ..nginx.target.clone() };
    let large = Asked::streamed(Scenario::Large);
    let mut jobs = vec![
        Job::cost(nginx, &upstream, large, 1, 8).await?,
        Job::cost(cozeway, &cozeway.target, large, 1, 8).await?,
        Job::cost(cozeway, &cozeway.target, Asked::streamed(Scenario::Huge), 1, 1).await?,
    ];
    interleave(&mut jobs, bench.effort(25, 7)).await;
    let milliseconds = |job: &Job<'_>| job.samples().map(|all| all.iter().map(|cost| cost / 1e3).collect());
    let [nginx, large, huge] = [&jobs[0], &jobs[1], &jobs[2]].map(milliseconds);
    let unit = Unit::Milliseconds;
    let table = &mut bench.table;
    table.ratio("CPU, one delta of 1 MiB (nginx passes Coze's)", unit, &nginx, &large, at_most(1.5, 1.25));
    let times = combine(&huge, &large, |huge, large| huge / large);
    table.value("16 MiB event / 1 MiB event", Unit::Times, &times, at_most(20.0, 16.0));
    Ok(())
}
