//! The document: which lines and metrics it promises for each fault.

use sd_tests::Line;
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

/// One row of the table of faults.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) lines: Vec<Line>,
    /// Whether the row says that nothing is logged.
    pub(crate) is_silent: bool,
    pub(crate) meters: Vec<Meter>,
    /// The quoted pieces of advice, from `"` to `"`.
    pub(crate) advice: Vec<String>,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let table = DOCUMENT.split("## Faults").nth(1).expect("the section");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter(|line| line.starts_with("| "));
        // The head comes first.
        rows.skip(1).map(Self::parse).collect()
    }

    /// The row of `fault`.
    pub(crate) fn of(fault: &str) -> Self {
        let mut rows = Self::all().into_iter();
        let row = rows.find(|row| row.fault == fault);
        row.unwrap_or_else(|| panic!("no row for {fault:?}"))
    }

    fn parse(row: &str) -> Self {
        let cells: Vec<&str> = row.split(" | ").collect();
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        Self {
            fault: cells[0].trim_start_matches("| ").trim().to_owned(),
            is_silent: cells[1].starts_with("nothing"),
            lines: quoted(cells[1]).iter().map(|it| line(it)).collect(),
            meters: quoted(cells[2]).iter().map(|it| Meter::parse(it)).collect(),
            advice: cells[4]
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// When to be alarmed: the second cells of the table of alarms.
pub(crate) fn alarms() -> Vec<&'static str> {
    let table = DOCUMENT.split("| alarm |").nth(1).expect("the table");
    let table = table.split("\n\n").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.split(" | ").nth(1).expect("a cell"))
        .collect()
}

/// `WARN message {field field}`
fn line(text: &str) -> Line {
    let (level, rest) = text.split_once(' ').expect("a level");
    let (message, fields) = rest.split_once(" {").expect("fields");
    let fields = fields.trim_end_matches('}').split(' ');
    Line {
        level: level.parse().expect("a level"),
        message: message.to_owned(),
        fields: fields.map(|it| (it.to_owned(), String::new())).collect(),
    }
}

/// Whether `line` is as documented.
pub(crate) fn is(line: &Line, documented: &Line) -> bool {
    (line.level, &line.message) == (documented.level, &documented.message)
        && documented
            .fields
            .iter()
            .all(|(name, _)| line.field(name).is_some())
}

/// A metric with some of its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Meter {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Meter {
    /// `name{label="value"}`
    pub(crate) fn parse(text: &str) -> Self {
        let (name, labels) = text.split_once('{').unwrap_or((text, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|it| it.split_once('='));
        Self {
            name: name.to_owned(),
            labels: labels
                .map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()))
                .collect(),
        }
    }

    pub(crate) fn is(&self, documented: &Self) -> bool {
        let has = |(label, value)| self.labels.get(label) == Some(value);
        self.name == documented.name && documented.labels.iter().all(has)
    }
}
