//! The program itself: its size, and its memory while nothing happens.

use std::time::Duration;

use tokio::time::sleep;

use crate::answer::Void;
use crate::rows::Bench;
use crate::table::{Unit, at_most};

pub(crate) async fn idle(bench: &mut Bench) -> Result<(), Void> {
    let mut samples = vec![];
    for _ in 0..bench.effort(7, 3) {
        let cozeway = bench.programs.cozeway(&bench.mock)?;
        sleep(Duration::from_millis(100)).await;
        samples.push(cozeway.process.rss()? / 1024.0);
    }
    bench.table.value("RSS idle", Unit::MiB, &Ok(samples), at_most(12.0, 8.0));
    Ok(())
}

pub(crate) fn size(bench: &mut Bench) -> Result<(), Void> {
    let bytes = std::fs::metadata(&bench.programs.cozeway)?.len();
    let megabytes = Ok(vec![bytes as f64 / 1e6]);
    bench.table.value("binary, stripped", Unit::Megabytes, &megabytes, at_most(14.0, 10.0));
    Ok(())
}
