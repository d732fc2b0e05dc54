//! Processes that were started here: on one core, and ended with their owner;
//! and what the kernel says of them.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::time::{Instant, sleep};

use crate::answer::Void;

/// Where the servers run, and where everything else does.
pub(crate) const SERVERS: usize = 0;
pub(crate) const OTHERS: usize = 1;

/// How long a process has to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process, and those that it has started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Which of them are measured.
    pids: Vec<u32>,
    pub(crate) spawned: Instant,
}

/// CPU time by thread, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Cpu(HashMap<u32, u64>);

/// Keeps this thread, and what it starts, on one core.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("this machine has that core");
}

impl Process {
    /// Starts a program on a core.
    pub(crate) fn start(command: &mut Command, core: usize) -> Result<Self, Void> {
        pin(core);
        let spawned = Instant::now();
        let child = command.stdin(Stdio::null()).spawn();
        pin(OTHERS);
        let child = child.map_err(|error| Void::new(format!("{command:?}: {error}")))?;
        Ok(Self { pids: vec![child.id()], child, spawned })
    }

    /// The first line that it writes; its output was piped.
    pub(crate) fn first_line(&mut self) -> Result<String, Void> {
        let out = self.child.stdout.take().ok_or_else(|| Void::new("its output is not piped"))?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if line.is_empty() { Err(Void::new("it did not start")) } else { Ok(line.trim_end().to_owned()) }
    }

    /// From now on its children are measured in its place.
    pub(crate) async fn measure_children(&mut self) -> Result<(), Void> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.pids = children(self.child.id());
            if !self.pids.is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(Void::new("it has started no worker"))
    }

    /// What each of its threads has used by now.
    pub(crate) fn cpu(&self) -> Result<Cpu, Void> {
        let mut all = HashMap::new();
        for pid in &self.pids {
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let path = task?.path();
                let id = path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
                // A thread may end while one looks.
                let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
                if let Some(used) = text.split(' ').next().and_then(|first| first.parse().ok()) {
                    all.insert(id, used);
                }
            }
        }
        Ok(Cpu(all))
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss(&self) -> Result<f64, Void> {
        let mut sum = 0;
        for pid in &self.pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let field = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            sum += field.ok_or_else(|| Void::new("the kernel does not tell"))?;
        }
        Ok(sum as f64)
    }
}

impl Cpu {
    /// Microseconds since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Result<f64, Void> {
        if before.0.keys().any(|id| !self.0.contains_key(id)) {
            return Err(Void::new("a thread has ended, and its CPU time is not known"));
        }
        let of = |id| before.0.get(id).copied().unwrap_or(0);
        let nanoseconds: u64 = self.0.iter().map(|(id, used)| used - of(id)).sum();
        Ok(nanoseconds as f64 / 1e3)
    }
}

impl Drop for Process {
    /// Asks it to end, and ends it where that does not help: by its id, and
    /// those of the workers that it has started.
    fn drop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        for _ in 0..500 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for pid in &self.pids {
            signal(*pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The processes that one has started.
fn children(parent: u32) -> Vec<u32> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.and_then(|line| line.trim().parse().ok()) == Some(parent)
    })
    .collect()
}

/// A folder of this run alone; gone with it.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Void> {
        let path = std::env::temp_dir().join(format!("cozeway-gateway-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
