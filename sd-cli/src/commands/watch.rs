//! `sdctl watch`: what changes, as it changes.

use crate::{
    changes::{Event, Follower, Known, Step},
    failure::{Failure, Outcome},
    instances::{Reader, Row, instance_table},
    output::{self, colour},
    settings::Settings,
    telling::{self, EventRow},
};
use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use sd_core::{Change, Escaped};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Show what changes in a service or in all: a line for each change, with the time
///
/// Begins with what there is. Goes on while etcd is away, and says so; ends at Ctrl-C. As JSON, each line is one object.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service. Without one, all services of the format
    service: Option<String>,

    /// A table on the terminal that is kept up to date, instead of lines
    #[arg(long)]
    live: bool,

    /// Ends after so many changes, those at the beginning among them
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let is_live = args.live && !settings.output.is_json();
    if is_live && !io::stdout().is_terminal() {
        return Err(
            Failure::new("--live needs a terminal").advice("without it, each change is a line")
        );
    }
    let mut reader = Reader::new(&settings.format, args.service.as_deref())?;
    let client = settings.client()?;
    let mut follower = Follower::new(client.clone(), reader.watched_prefix()?);
    let mut known = Known::default();
    let mut view: Box<dyn View> = match is_live {
        true => Box::new(Live::new(args.service.clone())),
        false => Box::new(Lines {
            is_json: settings.output.is_json(),
            left: args.count,
        }),
    };
    let mut stop = std::pin::pin!(telling::told_to_stop());
    let outcome = loop {
        let due = view.due();
        let step = tokio::select! {
            stopped = &mut stop => break stopped.map_err(Failure::from),
            step = follower.next() => step,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                view.draw(&known)?;
                continue;
            }
        };
        let step = match step {
            Ok(step) => step,
            Err(failure) => break Err(failure),
        };
        if !view.step(&apply(&mut known, &mut reader, step))? {
            break Ok(());
        }
    };
    drop(view);
    client.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What a step means.
enum Told {
    Events(Vec<Event>),
    /// The history has a gap; these events make up for it.
    Gap(String, Vec<Event>),
    Trouble(String),
    Recovered,
}

fn apply(known: &mut Known, reader: &mut Reader, step: Step) -> Told {
    match step {
        Step::Listed { entries, gap } => {
            let read = entries
                .iter()
                .filter_map(|entry| reader.read(entry).map(|read| (entry.key.clone(), read)));
            let read: BTreeMap<_, _> = read.collect();
            let events = known.replace(read);
            match gap {
                Some(why) => Told::Gap(why, events),
                None => Told::Events(events),
            }
        }
        Step::Changed(changes) => {
            let events = changes.iter().flat_map(|change| match change {
                Change::Put(entry) => known.put(&entry.key, reader.read(entry)),
                gone => known.delete(gone.key()),
            });
            Told::Events(events.collect())
        }
        Step::Trouble(why) => Told::Trouble(why),
        Step::Recovered => Told::Recovered,
    }
}

/// How changes are shown.
trait View {
    /// Something has happened. `false`: enough was shown.
    fn step(&mut self, told: &Told) -> io::Result<bool>;

    /// When to draw next, if something has changed.
    fn due(&self) -> Option<Instant> {
        None
    }

    fn draw(&mut self, _: &Known) -> io::Result<()> {
        Ok(())
    }
}

/// A line for each change.
struct Lines {
    is_json: bool,
    left: Option<u64>,
}

impl Lines {
    fn print(&self, row: &EventRow<'_>, text: &str) -> io::Result<()> {
        match self.is_json {
            true => output::line(&serde_json::to_string(row)?),
            false => output::line(&format!("{}  {text}", row.time)),
        }
    }

    fn events(&mut self, time: &str, events: &[Event]) -> io::Result<bool> {
        // One write for all that has changed at once.
        let most = self.left.map_or(events.len(), |left| {
            events
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        let lines = events[..most].iter().map(|event| match self.is_json {
            true => serde_json::to_string(&EventRow::of(time, event)).unwrap_or_default(),
            false => format!("{time}  {}", telling::line(event)),
        });
        let lines: Vec<_> = lines.collect();
        if !lines.is_empty() {
            output::line(&lines.join("\n"))?;
        }
        let Some(left) = &mut self.left else {
            return Ok(true);
        };
        *left -= most as u64;
        Ok(*left > 0)
    }
}

impl View for Lines {
    fn step(&mut self, told: &Told) -> io::Result<bool> {
        let time = output::now();
        match told {
            Told::Events(events) => return self.events(&time, events),
            Told::Gap(why, events) => {
                let text = format!("* {why}: listed again");
                self.print(&EventRow::trouble(&time, "gap", Some(why)), &text)?;
                return self.events(&time, events);
            }
            Told::Trouble(why) => {
                let text = format!("* etcd does not answer: {why}; what is known stays");
                self.print(&EventRow::trouble(&time, "trouble", Some(why)), &text)?;
            }
            Told::Recovered => {
                let text = "* etcd answers again";
                self.print(&EventRow::trouble(&time, "recovered", None), text)?;
            }
        }
        Ok(true)
    }
}

/// How often the table is drawn at most.
const FRAME: Duration = Duration::from_millis(250);
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A table on the terminal's other screen, so that nothing of what stood there is lost.
struct Live {
    service: Option<String>,
    trouble: Option<String>,
    changes: usize,
    last: Option<Instant>,
    is_dirty: bool,
}

impl Live {
    fn new(service: Option<String>) -> Self {
        let _ = write!(io::stdout(), "{ENTER}");
        Self {
            service,
            trouble: None,
            changes: 0,
            last: None,
            is_dirty: true,
        }
    }
}

impl View for Live {
    fn step(&mut self, told: &Told) -> io::Result<bool> {
        match told {
            Told::Events(events) | Told::Gap(_, events) => self.changes += events.len(),
            Told::Trouble(why) => self.trouble = Some(why.clone()),
            Told::Recovered => self.trouble = None,
        }
        self.is_dirty = true;
        Ok(true)
    }

    fn due(&self) -> Option<Instant> {
        self.is_dirty
            .then(|| self.last.map_or_else(Instant::now, |last| last + FRAME))
    }

    fn draw(&mut self, known: &Known) -> io::Result<()> {
        let rows = known
            .entries()
            .flat_map(|(key, read)| Row::of_read(key.as_str(), read));
        let rows: Vec<_> = rows.collect();
        let (width, height) = terminal_size::terminal_size()
            .map_or((100, 24), |(width, height)| {
                (usize::from(width.0), usize::from(height.0))
            });
        let name = self.service.as_deref().unwrap_or("all services");
        let bold = colour::HEADING;
        let head = format!(
            "{bold}{}{bold:#}  {} instances, {} changes, {}",
            Escaped(name),
            rows.len(),
            self.changes,
            output::now()
        );
        let bad = colour::BAD;
        let trouble = self.trouble.as_ref().map_or(String::new(), |why| {
            format!("{bad}etcd does not answer: {why}; as last known{bad:#}")
        });
        let table = instance_table(&rows, false, self.service.is_none()).lines();
        let room = height.saturating_sub(4).max(1);
        let more = (table.len() - 1).saturating_sub(room.saturating_sub(1));
        let foot = match more {
            0 => String::new(),
            more => format!("... and {more} more"),
        };
        let lines = [head, trouble]
            .into_iter()
            .chain(table.into_iter().take(room))
            .chain([foot]);
        let mut frame = "\x1b[H".to_owned();
        let mut out = io::stdout().lock();
        let has_colours = AutoStream::choice(&out) != ColorChoice::Never;
        for line in lines {
            let line = cut(&line, width);
            // With NO_COLOR the cursor moves all the same.
            match has_colours {
                true => frame += &line,
                false => frame += &strip_str(&line).to_string(),
            }
            frame += "\x1b[K\r\n";
        }
        frame += "\x1b[J";
        self.last = Some(Instant::now());
        self.is_dirty = false;
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

/// The first `width` characters that are seen, with all styles.
fn cut(line: &str, width: usize) -> String {
    let (mut cut, mut seen, mut is_escape) = (String::new(), 0, false);
    for character in line.chars() {
        let is_start = character == '\x1b';
        is_escape |= is_start;
        if is_escape || seen < width {
            cut.push(character);
            seen += usize::from(!is_escape);
        }
        is_escape &= is_start || character != 'm';
    }
    cut
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = write!(out, "{LEAVE}");
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        assert_eq!(cut("\x1b[1mabc\x1b[0mdef", 4), "\x1b[1mabc\x1b[0md");
        assert_eq!(cut("äöü", 2), "äö");
    }
}
