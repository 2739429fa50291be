//! Tables of results, for people and for programs.

use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The results of one part of a measure. Printed as a table, or as one line of JSON for each row.
#[derive(Debug)]
pub struct Table {
    title: String,
    /// What all rows have in common: in JSON only, as the title says it.
    common: Map<String, Value>,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    heading: &'static str,
    /// Its name in JSON.
    key: &'static str,
}

/// One value of a [`Table`].
#[derive(Debug, Clone)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A number, shown with this many decimals. Not shown if it is not finite.
    Number(f64, usize),
    /// There is nothing to say.
    Empty,
}

impl Table {
    /// A table of `columns`, of which each has a heading and a name in JSON.
    pub fn new<const N: usize>(
        title: impl Into<String>,
        columns: [(&'static str, &'static str); N],
    ) -> Self {
        let column = |(heading, key)| Column { heading, key };
        Self {
            title: title.into(),
            common: Map::new(),
            columns: columns.into_iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// The same table, whose rows have `value` for `key` in JSON.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.common.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table as text: texts to the left, numbers to the right.
    pub fn text(&self) -> String {
        let headings = self.columns.iter().map(|column| column.heading.to_owned());
        let mut lines = vec![headings.collect::<Vec<_>>()];
        let shown = |row: &Vec<Cell>| row.iter().map(Cell::text).collect();
        lines.extend(self.rows.iter().map(shown));
        let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max();
        let widths: Vec<_> = (0..self.columns.len())
            .map(|n| width(n).unwrap_or(0))
            .collect();
        let has_text = |n: usize| {
            let mut cells = self.rows.iter().map(|row| &row[n]);
            cells.any(|cell| matches!(cell, Cell::Text(_)))
        };
        let are_texts: Vec<_> = (0..self.columns.len()).map(has_text).collect();
        let mut text = format!("{}\n", self.title);
        for line in &lines {
            let mut written = String::new();
            for (n, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let (width, gap) = (*width, if n == 0 { 2 } else { 3 });
                // Writing to a string does not fail.
                let _ = if are_texts[n] {
                    write!(written, "{:gap$}{cell:width$}", "")
                } else {
                    write!(written, "{:gap$}{cell:>width$}", "")
                };
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }

    /// The rows as lines of JSON: objects with what is common and a value for each column that is
    /// not empty.
    pub fn json_lines(&self, measure: &str) -> String {
        let mut lines = String::new();
        for row in &self.rows {
            let mut object = Map::new();
            object.insert("measure".to_owned(), measure.into());
            object.extend(self.common.clone());
            for (column, cell) in self.columns.iter().zip(row) {
                if let Some(value) = cell.json() {
                    object.insert(column.key.to_owned(), value);
                }
            }
            lines.push_str(&Value::Object(object).to_string());
            lines.push('\n');
        }
        lines
    }
}

impl Cell {
    /// A number with this many decimals, if there is one.
    pub(crate) fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Empty, |value| Self::Number(value, decimals))
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number, decimals) if number.is_finite() => format!("{number:.decimals$}"),
            Self::Number(..) | Self::Empty => "-".to_owned(),
        }
    }

    fn json(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(json!(text)),
            Self::Number(number, _) => number.is_finite().then(|| json!(rounded(*number))),
            Self::Empty => None,
        }
    }
}

/// Rounded to thousandths.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = [
            ("balancer", "balancer"),
            ("ns", "pick_ns"),
            ("of random", "of_random"),
        ];
        let mut table = Table::new("picks, 10 endpoints", columns).with("endpoints", 10);
        let name = |name: &str| Cell::Text(name.to_owned());
        table.row([name("random"), Cell::Number(35.24, 1), Cell::Empty]);
        table.row([name("a → b"), Cell::Number(135.25, 1), Cell::Number(3.8, 2)]);
        table.row([name("none"), Cell::Number(f64::NAN, 1), Cell::Empty]);
        table
    }

    #[test]
    fn people_see_aligned_columns() {
        let text = "picks, 10 endpoints\n  \
             balancer      ns   of random\n  \
             random      35.2           -\n  \
             a → b      135.2        3.80\n  \
             none           -           -\n";
        assert_eq!(table().text(), text);
    }

    #[test]
    fn programs_see_an_object_a_line_with_all_that_is_known() {
        let lines = table().json_lines("picks");
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let random =
            json!({"measure": "picks", "endpoints": 10, "balancer": "random", "pick_ns": 35.24});
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], random);
        assert_eq!(lines[1]["of_random"], 3.8);
        assert!(lines[2].get("pick_ns").is_none());
    }
}
