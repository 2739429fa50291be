//! Plain columns without boxes.

use super::colour::HEADING;
use anstyle::Style;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Rows of texts in columns. Empty texts are written as `-`, so that a column can be cut out by its number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    pub(crate) fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            headings: headings.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled_row(cells.into_iter().map(|cell| (cell, Style::new())));
    }

    /// One more row, with the style of each text.
    pub(crate) fn styled_row(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        let dash = |(text, style): (String, Style)| match text.is_empty() {
            true => ("-".to_owned(), style),
            false => (text, style),
        };
        self.rows.push(cells.into_iter().map(dash).collect());
    }

    /// The lines of the table, the headings first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let heading = self.headings.get(column).map_or(0, |text| text.len());
            cells
                .map(|(text, _)| text.chars().count())
                .max()
                .unwrap_or(0)
                .max(heading)
        };
        let widths: Vec<_> = (0..self.headings.len()).map(width).collect();
        let heading = self
            .headings
            .iter()
            .map(|text| ((*text).to_owned(), HEADING));
        let heading: Vec<_> = heading.collect();
        let rows = std::iter::once(&heading).chain(&self.rows);
        rows.map(|row| line(row, &widths)).collect()
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for line in self.lines() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

fn line(cells: &[(String, Style)], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, ((text, style), width)) in cells.iter().zip(widths).enumerate() {
        if index > 0 {
            line += "  ";
        }
        // Nothing but what has a style is wrapped into one.
        let _ = match *style == Style::new() {
            true => write!(line, "{text}"),
            false => write!(line, "{style}{text}{style:#}"),
        };
        let is_last = index + 1 == cells.len();
        if !is_last {
            line.extend(std::iter::repeat_n(
                ' ',
                width - text.chars().count().min(*width),
            ));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(["ADDRESS", "W", "KEY"]);
        table.row(["10.0.0.1:80".into(), "3".into(), "/a".into()]);
        table.row(["é:1".into(), String::new(), "/b".into()]);
        let plain = |line: &String| anstream::adapter::strip_str(line).to_string();
        let lines: Vec<_> = table.lines().iter().map(plain).collect();
        assert_eq!(
            lines,
            [
                "ADDRESS      W  KEY",
                "10.0.0.1:80  3  /a",
                "é:1          -  /b"
            ]
        );
    }
}
