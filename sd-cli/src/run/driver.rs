//! Brings the machine, the program, the checks, the registry and the signals together.

use super::{
    check::Check,
    keeper::{self, Kept, Wanted},
    machine::{Action, Event, Limits, Machine},
    reaper::{Process, Reaper},
};
use crate::{
    failure::{Failure, Outcome},
    output::unabridged,
};
use rustix::process::Signal;
use sd_core::{Escaped, Registrar, RegistrarStatus};
use std::{
    io::{self, IsTerminal, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// How often is checked before the first check has passed, at least.
const SOON: Duration = Duration::from_millis(200);
/// How long what the program has left behind may take to end, before it is killed.
const LEFTOVERS: Duration = Duration::from_secs(2);
const LEFTOVERS_PAUSE: Duration = Duration::from_millis(20);
/// The exit statuses of shells.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// What is run, and how.
pub(crate) struct Options {
    /// The program and its arguments; none if there is only a registration.
    pub(crate) command: Vec<String>,
    pub(crate) service: String,
    /// The address that is registered.
    pub(crate) address: String,
    pub(crate) check: Check,
    pub(crate) interval: Duration,
    pub(crate) check_limit: Duration,
    pub(crate) limits: Limits,
    pub(crate) is_quiet: bool,
}

/// Runs until the program has ended, or until told to stop. Gives the exit status.
pub(crate) async fn run(options: Options, registrar: Registrar) -> Outcome<i32> {
    let reaper = Arc::new(Reaper::start()?);
    let mut signals = Signals::new()?;
    let tell = Tell {
        is_quiet: options.is_quiet,
    };
    let mut last_status = String::new();
    let mut process = match start(&options, &reaper) {
        Ok(process) => process,
        Err((status, failure)) => {
            failure.report();
            return Ok(status);
        }
    };
    let registrar = Arc::new(registrar);
    let (want, wanted) = watch::channel(Wanted::Nothing);
    let (told, mut kept) = mpsc::channel(8);
    let of_keeper = registrar.clone();
    let keeper = tokio::spawn(async move { keeper::keep(&of_keeper, wanted, told).await });
    let _keeper = AbortOnDropHandle::new(keeper);
    let (checked, mut checks) = mpsc::channel(1);
    let _checker = AbortOnDropHandle::new(tokio::spawn(check(
        (options.check.clone(), options.address.clone()),
        (options.interval, options.check_limit),
        reaper.clone(),
        checked,
    )));
    let mut status = registrar.status();
    let mut machine = Machine::new(options.limits, process.is_some());
    let (mut was_well, mut has_ended) = (None, false);
    loop {
        let deadline = machine.deadline();
        let event = select! {
            // The end of the program first: what else has happened does not matter then.
            biased;
            status = ended(&mut process), if !has_ended => {
                has_ended = true;
                tell.line(format_args!("the program has ended with {status}"));
                Event::Ended(status)
            }
            signal = signals.next() => match signal {
                Told::Stop(signal) => Event::Told(signal),
                Told::Forward(signal) => {
                    if let Some(process) = &process {
                        process.signal(signal);
                    }
                    continue;
                }
                Told::Ignore => {
                    tell.line("it does not stop: the lease would end meanwhile");
                    continue;
                }
            },
            Some(kept) = kept.recv() => match kept {
                Kept::Done(what) => {
                    tell.line(format_args!("{what}: {} at {}", Escaped(&options.service), Escaped(&options.address)));
                    continue;
                }
                Kept::Refused(why) => {
                    Failure::new(format!("it cannot be registered: {why}")).report();
                    Event::Refused
                }
                Kept::Gone(outcome) => {
                    tell.line(format_args!("deregistered: {outcome}"));
                    Event::Deregistered
                }
            },
            Some(result) = checks.recv(), if machine.is_checked() => {
                let is_well = result.is_ok();
                if was_well.replace(is_well) != Some(is_well) {
                    match result {
                        Ok(()) => tell.line("the check passes"),
                        Err(why) => tell.line(format_args!("the check fails: {why}")),
                    }
                }
                Event::Checked(is_well)
            }
            Ok(()) = status.changed() => {
                if let Some(line) = trouble(&status.borrow_and_update())
                    && line != last_status
                {
                    tell.line(&line);
                    last_status = line;
                }
                continue;
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Event::Expired,
        };
        for action in machine.on(Instant::now(), event) {
            match action {
                Action::Serve => drop(want.send(Wanted::Serving)),
                Action::Drain => drop(want.send(Wanted::Draining)),
                Action::Deregister { drains } => {
                    if drains {
                        let time = humantime::format_duration(options.limits.drain);
                        tell.line(format_args!(
                            "told to end: no new calls, and {time} for those on their way"
                        ));
                    }
                    let _ = want.send(Wanted::Gone { drains });
                }
                Action::Pass(signal) => {
                    if let Some(process) = &process {
                        tell.line(format_args!("passing on {}", name(signal)));
                        process.signal(signal);
                    }
                }
                Action::Kill => {
                    if let Some(process) = &process {
                        tell.line("the program does not end: killed");
                        process.signal_group(Signal::KILL);
                    }
                }
                Action::Finish(status) => {
                    if let Some(process) = &process {
                        end_leftovers(process, tell).await;
                    }
                    return Ok(status);
                }
            }
        }
    }
}

/// The signals that end.
fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "SIGINT",
        Signal::QUIT => "SIGQUIT",
        _ => "SIGTERM",
    }
}

/// Starts the program, if there is one.
fn start(options: &Options, reaper: &Reaper) -> Result<Option<Process>, (i32, Failure)> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    // It is in a group of its own, which may not read from the terminal.
    if io::stdin().is_terminal() {
        command.stdin(Stdio::null());
    }
    command.env("SDCTL_SERVICE", &options.service);
    command.env("SDCTL_ADDRESS", &options.address);
    reaper.spawn(&mut command).map(Some).map_err(|error| {
        let status = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        (status, Failure::from(error).of(Escaped(program)))
    })
}

/// The end of the program. Never, if there is none.
async fn ended(process: &mut Option<Process>) -> i32 {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

/// What the program has started and left in its group is told to end, and killed if it does not.
async fn end_leftovers(process: &Process, tell: Tell) {
    let deadline = Instant::now() + LEFTOVERS;
    if !process.signal_group(Signal::TERM) {
        return;
    }
    tell.line(format_args!(
        "ending what the program {} has left behind",
        process.pid()
    ));
    while Instant::now() < deadline {
        sleep(LEFTOVERS_PAUSE).await;
        if !process.signal_group(Signal::CONT) {
            return;
        }
    }
    process.signal_group(Signal::KILL);
}

/// Checks until nobody listens.
async fn check(
    (check, address): (Check, String),
    (interval, limit): (Duration, Duration),
    reaper: Arc<Reaper>,
    checked: mpsc::Sender<Result<(), String>>,
) {
    let mut has_passed = false;
    loop {
        let result = check.run(&reaper, &address, limit).await;
        has_passed |= result.is_ok();
        if checked.send(result).await.is_err() || check == Check::None {
            // Nobody listens, or nothing will be otherwise.
            return;
        }
        sleep(match has_passed {
            true => interval,
            false => interval.min(SOON),
        })
        .await;
    }
}

/// What this program says of itself, on stderr: the output belongs to the program.
#[derive(Debug, Clone, Copy)]
struct Tell {
    is_quiet: bool,
}

impl Tell {
    fn line(self, what: impl std::fmt::Display) {
        if !self.is_quiet {
            let _ = writeln!(io::stderr(), "sdctl: {what}");
        }
    }
}

/// What has become of the registration without being asked for.
fn trouble(status: &RegistrarStatus) -> Option<String> {
    match status {
        RegistrarStatus::Registering { error: None, .. }
        | RegistrarStatus::Registered {
            unproven: None,
            unverified: None,
            error: None,
            edit: None,
            ..
        }
        | RegistrarStatus::Idle
        | RegistrarStatus::Deregistering
        | RegistrarStatus::Deregistered(_) => None,
        RegistrarStatus::Registered {
            unproven: None,
            unverified: None,
            error: None,
            edit: Some(value),
            ..
        } => Some(format!(
            "somebody has edited the entry, which is kept: {}",
            unabridged(&String::from_utf8_lossy(value))
        )),
        // Tried again without end: the first is enough.
        RegistrarStatus::Registering { attempt: 3.., .. }
        | RegistrarStatus::Reclaiming { attempt: 3.., .. } => None,
        status => Some(status.to_string()),
    }
}

/// What a signal asks for.
enum Told {
    /// To end.
    Stop(Signal),
    /// Something of the program.
    Forward(Signal),
    /// To pause, which nobody can do who is registered.
    Ignore,
}

/// The signals that are not left to the system.
struct Signals {
    told: mpsc::Receiver<Signal>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let all = [
            Signal::TERM,
            Signal::INT,
            Signal::QUIT,
            Signal::HUP,
            Signal::USR1,
            Signal::USR2,
            Signal::WINCH,
            Signal::TSTP,
        ];
        let (tell, told) = mpsc::channel(all.len());
        let tasks = all.map(|kind| {
            let mut stream = signal(SignalKind::from_raw(kind.as_raw()))?;
            let tell = tell.clone();
            let task = async move {
                while stream.recv().await.is_some() && tell.send(kind).await.is_ok() {}
            };
            Ok::<_, io::Error>(AbortOnDropHandle::new(tokio::spawn(task)))
        });
        let tasks: io::Result<Vec<_>> = tasks.into_iter().collect();
        Ok(Self {
            told,
            _tasks: tasks?,
        })
    }

    async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Some(signal @ (Signal::TERM | Signal::INT | Signal::QUIT)) => Told::Stop(signal),
            Some(Signal::TSTP) => Told::Ignore,
            Some(signal) => Told::Forward(signal),
            None => std::future::pending().await,
        }
    }
}
