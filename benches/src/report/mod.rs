//! The report: what was measured, as a page with tables and plots.
//!
//! [`write()`] puts the results into `DIR/performance.md`, between comments that say what is generated, and leaves
//! the rest of the page as it is. The results themselves are kept beside the plots, in
//! `DIR/performance/results.jsonl`: so a run of some of the measures replaces only theirs.

mod capacity;
mod machine;
mod page;
mod plots;

use crate::{
    comparison,
    table::{Cell, Table},
};
use serde_json::Value;
use std::{error::Error, fs, path::Path};

/// Lines of JSON that measures have printed.
#[derive(Debug, Default)]
pub struct Results(Vec<Value>);

impl Results {
    /// Reads lines of JSON.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(lines: &str) -> Result<Self, serde_json::Error> {
        let rows = lines.lines().map(serde_json::from_str);
        rows.collect::<Result<_, _>>().map(Self)
    }

    /// What all measures were to reach, and whether they did.
    pub fn summary(&self) -> Table {
        let columns = comparison::COLUMNS;
        let mut table = Table::new("what is to be reached", columns);
        for row in self.comparisons() {
            table.row(columns.map(|(_, key)| match &row[key] {
                Value::String(text) => Cell::Text(text.clone()),
                Value::Number(number) => {
                    let number = number.as_f64().unwrap_or(f64::NAN);
                    Cell::Number(number, comparison::decimals(number))
                }
                _ => Cell::Empty,
            }));
        }
        table
    }

    fn comparisons(&self) -> impl Iterator<Item = &Value> {
        let is_comparison = |row: &&Value| row["table"] == comparison::TABLE;
        self.0.iter().filter(is_comparison)
    }

    /// The rows of the growth along an axis, of one side if there are two.
    fn growth(&self, axis: &str, side: Option<&str>) -> Vec<&Value> {
        let rows = self
            .0
            .iter()
            .filter(|row| row["table"] == "growth" && row["axis"] == axis);
        let of_side = |row: &&Value| side.is_none_or(|side| row["side"] == side);
        rows.filter(of_side).collect()
    }

    /// Replaces the results of the measures that `newer` has.
    fn update(&mut self, newer: &Self) {
        let is_kept = |row: &Value| newer.0.iter().all(|it| it["measure"] != row["measure"]);
        self.0.retain(is_kept);
        self.0.extend(newer.0.iter().cloned());
    }

    fn lines(&self) -> String {
        self.0.iter().map(|row| format!("{row}\n")).collect()
    }
}

/// Writes the report of these results, and of those that were written before and not measured again.
///
/// # Errors
/// The page is not there or cannot be written.
pub fn write(results: &Results, directory: &Path, quick: bool) -> Result<(), Box<dyn Error>> {
    let (page, pictures) = (
        directory.join("performance.md"),
        directory.join("performance"),
    );
    fs::create_dir_all(&pictures)?;
    let file = pictures.join("results.jsonl");
    let mut all = match fs::read_to_string(&file) {
        Ok(lines) => Results::parse(&lines)?,
        Err(_) => Results::default(),
    };
    all.update(results);
    all.update(&Results(vec![machine::row(quick)]));
    fs::write(&file, all.lines())?;
    for plot in plots::plots(&all) {
        plot.draw(&pictures)?;
    }
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    fs::write(&page, page::filled(&text, &all)?)?;
    Ok(())
}

fn number(row: &Value, key: &str) -> Option<f64> {
    row[key].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_results_replace_those_of_the_same_measure() {
        let lines = "{\"measure\":\"a\",\"n\":1}\n{\"measure\":\"b\",\"n\":1}\n";
        let mut all = Results::parse(lines).unwrap();
        let newer = "{\"measure\":\"a\",\"n\":2}\n{\"measure\":\"a\",\"n\":3}\n";
        all.update(&Results::parse(newer).unwrap());
        let expected = format!("{}\n{newer}", "{\"measure\":\"b\",\"n\":1}");
        assert_eq!(all.lines(), expected);
    }
}
