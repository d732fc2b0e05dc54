//! Clients that ask over and over, and what that costs or how fast it goes.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::answer::Void;
use crate::exchange::{Asked, Connection, Question, Target};
use crate::process::Process;
use crate::servers::Server;

/// Several clients of one kind, each with a connection that it keeps.
#[derive(Debug)]
pub(crate) struct Clients {
    connections: Vec<Connection>,
    /// How long after one another they begin.
    pub(crate) stagger: Duration,
}

/// How long clients go on.
#[derive(Clone, Copy, Debug)]
enum Until {
    Asked(usize),
    Passed(Instant),
}

impl Clients {
    pub(crate) async fn open(target: &Target, asked: Asked, count: usize) -> Result<Self, Void> {
        let question = Question::new(target, asked);
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(&question).await?);
        }
        Ok(Self { connections, stagger: Duration::ZERO })
    }

    /// Each asks this many times.
    pub(crate) async fn ask(&mut self, each: usize) -> Result<(), Void> {
        self.run(Until::Asked(each)).await.map(drop)
    }

    /// All ask until some time has passed; how many answers a second.
    pub(crate) async fn ask_for(&mut self, time: Duration) -> Result<f64, Void> {
        let began = Instant::now();
        let answers = self.run(Until::Passed(began + time)).await?;
        Ok(answers as f64 / began.elapsed().as_secs_f64())
    }

    async fn run(&mut self, until: Until) -> Result<usize, Void> {
        let mut running = JoinSet::new();
        for (index, mut connection) in self.connections.drain(..).enumerate() {
            let wait = self.stagger * u32::try_from(index).unwrap_or(0);
            running.spawn(async move {
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                let mut answers = 0;
                while match until {
                    Until::Asked(each) => answers < each,
                    Until::Passed(end) => Instant::now() < end,
                } {
                    connection.ask().await?;
                    answers += 1;
                }
                Ok::<_, Void>((connection, answers))
            });
        }
        let mut sum = 0;
        while let Some(ended) = running.join_next().await {
            let (connection, answers) = ended.map_err(|error| Void::new(error.to_string()))??;
            self.connections.push(connection);
            sum += answers;
        }
        Ok(sum)
    }
}

/// What is measured again in every round.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    process: &'a Process,
    clients: Clients,
    count: usize,
    measure: Measure,
    samples: Vec<f64>,
    /// How much of the time its core was busy with it, in rounds of time.
    pub(crate) busy: Vec<f64>,
    failed: Option<Void>,
}

#[derive(Clone, Copy, Debug)]
enum Measure {
    /// CPU for each answer, in microseconds.
    Cost { each: usize },
    /// Answers a second.
    Rate { time: Duration },
}

/// What was measured, or why it was not.
pub(crate) type Samples = Result<Vec<f64>, String>;

impl<'a> Job<'a> {
    /// The CPU of answers, `each` by each of so many clients a round.
    pub(crate) async fn cost(
        server: &'a Server,
        target: &Target,
        asked: Asked,
        clients: usize,
        each: usize,
    ) -> Result<Self, Void> {
        Self::new(&server.process, target, asked, clients, Measure::Cost { each }).await
    }

    /// How many answers a second.
    pub(crate) async fn rate(
        server: &'a Server,
        asked: Asked,
        clients: usize,
        time: Duration,
    ) -> Result<Self, Void> {
        Self::new(&server.process, &server.target, asked, clients, Measure::Rate { time }).await
    }

    async fn new(
        process: &'a Process,
        target: &Target,
        asked: Asked,
        count: usize,
        measure: Measure,
    ) -> Result<Self, Void> {
        let clients = Clients::open(target, asked, count).await?;
        Ok(Self { process, clients, count, measure, samples: vec![], busy: vec![], failed: None })
    }

    /// Lets the clients begin one after another.
    pub(crate) fn staggered(mut self, stagger: Duration) -> Self {
        self.clients.stagger = stagger;
        self
    }

    async fn once(&mut self) -> Result<f64, Void> {
        let (before, began) = (self.process.cpu()?, Instant::now());
        let sample = match self.measure {
            Measure::Cost { each } => {
                self.clients.ask(each).await?;
                // The last line of log may come after the last byte, and new
                // conversations are written up to 10 ms later.
                sleep(Duration::from_millis(25)).await;
                self.process.cpu()?.since(&before)? / (each * self.count) as f64
            }
            Measure::Rate { time } => {
                let rate = self.clients.ask_for(time).await?;
                let used = self.process.cpu()?.since(&before)?;
                self.busy.push(used / 1e6 / began.elapsed().as_secs_f64());
                rate
            }
        };
        Ok(sample)
    }

    pub(crate) fn samples(&self) -> Samples {
        match &self.failed {
            Some(why) => Err(why.0.clone()),
            None => Ok(self.samples.clone()),
        }
    }
}

/// Does all jobs by turns, there and back; the first round only warms up.
pub(crate) async fn interleave(jobs: &mut [Job<'_>], rounds: usize) {
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let job = &mut jobs[index];
            if job.failed.is_some() {
                continue;
            }
            match job.once().await {
                Ok(_) if round == 0 => job.busy.clear(),
                Ok(sample) => job.samples.push(sample),
                Err(why) => job.failed = Some(why),
            }
        }
    }
}
