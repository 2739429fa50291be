//! What is to be reached, and whether it was.

use crate::table::{Cell, Table};

/// A quantity of the toolkit, beside its floor in the same run, and what it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// What is compared, in a few words.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) toolkit: f64,
    /// That of the floor. `None` if nothing stands beside it.
    pub(crate) floor: Option<f64>,
    pub(crate) target: Target,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// So many times the floor at most.
    OfFloor(f64),
    /// So many of the unit at most.
    AtMost(f64),
    /// So many of the unit more than the floor, at most.
    AboveFloor(f64),
}

impl Comparison {
    pub(crate) fn new(
        what: impl Into<String>,
        unit: &'static str,
        toolkit: f64,
        target: Target,
    ) -> Self {
        Self {
            what: what.into(),
            unit,
            toolkit,
            floor: None,
            target,
        }
    }

    #[must_use]
    pub(crate) fn beside(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// How many times the floor it is.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.toolkit / floor)
    }

    /// `None` if it needs a floor, and there is none.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(most) => Some(self.toolkit <= most),
            Target::OfFloor(most) => self.ratio().map(|ratio| ratio <= most),
            Target::AboveFloor(most) => self.floor.map(|floor| self.toolkit - floor <= most),
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("≤ {} {}", short(most), self.unit),
            Target::OfFloor(most) => format!("≤ {} × floor", short(most)),
            Target::AboveFloor(most) => format!("≤ floor + {} {}", short(most), self.unit),
        }
    }
}

/// The name of these rows in JSON, under the key `table`.
pub(crate) const TABLE: &str = "comparison";

/// The columns of such a table: their headings, and their names in JSON.
pub(crate) const COLUMNS: [(&str, &str); 7] = [
    ("what", "what"),
    ("unit", "unit"),
    ("toolkit", "toolkit"),
    ("floor", "floor"),
    ("ratio", "ratio"),
    ("to reach", "target"),
    ("reached", "reached"),
];

/// The table of some comparisons.
pub(crate) fn table(title: impl Into<String>, comparisons: &[Comparison]) -> Table {
    let mut table = Table::new(title, COLUMNS).with("table", TABLE);
    for it in comparisons {
        let text = |text: &str| Cell::Text(text.to_owned());
        table.row([
            text(&it.what),
            text(it.unit),
            Cell::Number(it.toolkit, decimals(it.toolkit)),
            Cell::number(it.floor, it.floor.map_or(0, decimals)),
            Cell::number(it.ratio(), 2),
            Cell::Text(it.target()),
            it.is_reached()
                .map_or(Cell::Empty, |is| text(if is { "yes" } else { "no" })),
        ]);
    }
    table
}

/// So many that three digits are shown.
pub(crate) fn decimals(number: f64) -> usize {
    match number.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_of_the_floor_above_it_or_a_number() {
        let of = |target| Comparison::new("x", "ms", 3.0, target);
        assert_eq!(of(Target::AtMost(3.0)).is_reached(), Some(true));
        assert_eq!(of(Target::OfFloor(2.0)).is_reached(), None);
        assert_eq!(
            of(Target::OfFloor(2.0)).beside(1.0).is_reached(),
            Some(false)
        );
        assert_eq!(
            of(Target::AboveFloor(2.0)).beside(1.0).is_reached(),
            Some(true)
        );
        assert_eq!(of(Target::OfFloor(1.05)).target(), "≤ 1.05 × floor");
        assert_eq!(of(Target::AtMost(10.0)).target(), "≤ 10 ms");
    }
}
