//! go-kit's balancers, in a process beside: `benches/go-kit`, which `./run bench --go-kit` has built.

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Where that program is. Nothing of go-kit is measured if this is not set.
const PROGRAM: &str = "SD_BENCH_GO_KIT";
/// How many picks are a turn.
const PICKS: usize = 200_000;

/// The balancers of go-kit, by the names that ours have too.
pub(super) const BALANCERS: [&str; 2] = ["RoundRobin", "Random"];

/// The running program.
pub(super) struct GoKit {
    process: Child,
    /// `None` only while it ends.
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl GoKit {
    /// Starts the program, if there is one.
    pub(super) fn start() -> Result<Option<Self>, Box<dyn Error>> {
        let Some(program) = env::var_os(PROGRAM) else {
            return Ok(None);
        };
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = process.stdout.take().ok_or("no pipe")?;
        Ok(Some(Self {
            questions: process.stdin.take(),
            answers: BufReader::new(answers).lines(),
            process,
        }))
    }

    /// The nanoseconds of processor time of a pick, with a balancer that so many threads share.
    pub(super) fn pick(
        &mut self,
        balancer: &str,
        endpoints: usize,
        threads: usize,
    ) -> Result<f64, Box<dyn Error>> {
        let questions = self.questions.as_mut().ok_or("it has ended")?;
        writeln!(questions, "{balancer} {endpoints} {threads} {PICKS}")?;
        let answer = self.answers.next().ok_or("go-kit's program has ended")??;
        Ok(answer.parse()?)
    }
}

impl Drop for GoKit {
    fn drop(&mut self) {
        // It ends with its input.
        self.questions = None;
        let _ = self.process.wait();
    }
}
