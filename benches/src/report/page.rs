//! The generated parts of the page.

use super::{Results, capacity, number, plots};
use crate::comparison::{COLUMNS, decimals};
use serde_json::Value;
use std::fmt::Write;

/// The page with the parts between `<!-- NAME -->` and `<!-- end of NAME -->` made anew.
///
/// # Errors
/// A part is missing.
pub(super) fn filled(page: &str, results: &Results) -> Result<String, String> {
    let parts = [
        ("machine", machine(results)),
        ("comparisons", comparisons(results)),
        ("growth", growth(results)),
        ("capacity", capacity::section(results)),
    ];
    let mut page = page.to_owned();
    for (name, text) in parts {
        let (begin, end) = (
            format!("<!-- {name} -->"),
            format!("<!-- end of {name} -->"),
        );
        let missing = || format!("the page has no {begin} and {end}");
        let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
        page = format!("{before}{begin}\n{}\n{end}{after}", text.trim_end());
    }
    Ok(page)
}

fn machine(results: &Results) -> String {
    let Some(row) = results.0.iter().find(|row| row["measure"] == "machine") else {
        return String::new();
    };
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let quick = match row["quick"] == true {
        true => "with `--quick`, ",
        false => "",
    };
    format!(
        "Measured {quick}on {} × {}, {}, {}, {}, {}.\n",
        row["processors"],
        text("processor"),
        text("memory"),
        text("system"),
        text("etcd").to_lowercase(),
        text("rustc"),
    )
}

fn comparisons(results: &Results) -> String {
    let columns = [&[("measure", "measure")], &COLUMNS[..]].concat();
    let mut rows: Vec<Value> = results.comparisons().cloned().collect();
    for row in &mut rows {
        row["measure"] = format!("`{}`", row["measure"].as_str().unwrap_or_default()).into();
    }
    table(&columns, rows.iter())
}

/// The plots, and the tables that they were drawn from.
fn growth(results: &Results) -> String {
    let mut text = String::new();
    for axis in plots::AXES {
        let rows = results.growth(axis.name, None);
        if rows.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "### {}\n\n![{}](performance/{}.svg)\n\n<details><summary>the figures</summary>\n\n{}\n\
             </details>\n\n",
            axis.title,
            axis.title,
            axis.name,
            table(axis.columns, rows.into_iter()),
        );
    }
    text
}

/// A table of rows: pairs of headings and keys.
pub(super) fn table<'a>(columns: &[(&str, &str)], rows: impl Iterator<Item = &'a Value>) -> String {
    let headings: Vec<_> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut lines = vec![line(&headings), line(&vec!["---"; columns.len()])];
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|(_, key)| cell(row, key)).collect();
        lines.push(line(&cells));
    }
    lines.concat()
}

fn line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn cell(row: &Value, key: &str) -> String {
    match number(row, key) {
        Some(number) => grouped(number),
        None => row[key].as_str().unwrap_or_default().to_owned(),
    }
}

/// A number with as many decimals as say something, its thousands apart.
pub(super) fn grouped(number: f64) -> String {
    let places = if number.fract() == 0.0 {
        0
    } else {
        decimals(number)
    };
    let text = format!("{number:.places$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let mut out = sign.to_owned();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [
            0.0,
            3.0,
            0.123,
            12.34,
            123.4,
            12_345.6,
            -1234.0,
            1_000_000.0,
        ];
        let texts = numbers.map(grouped);
        assert_eq!(
            texts,
            [
                "0",
                "3",
                "0.12",
                "12.3",
                "123",
                "12,346",
                "-1,234",
                "1,000,000"
            ]
        );
    }

    #[test]
    fn what_is_not_generated_stays_as_it_is() {
        let part = |name| format!("<!-- {name} -->\nold\n<!-- end of {name} -->\n");
        let parts = ["machine", "comparisons", "growth", "capacity"].map(part);
        let page = format!("# Title\n\n{}the end\n", parts.join("own words\n"));
        let row = r#"{"measure":"put","table":"comparison","what":"x","unit":"ms","toolkit":2.0,"floor":1.0}"#;
        let results = Results::parse(row).unwrap();
        let page = filled(&page, &results).unwrap();
        assert!(page.starts_with("# Title\n\n<!-- machine -->\n"), "{page}");
        assert!(page.ends_with("the end\n"), "{page}");
        assert_eq!(page.matches("own words").count(), 3);
        assert!(page.contains("| `put` | x | ms | 2 | 1 |"), "{page}");
        assert!(!page.contains("old"), "{page}");
        assert_eq!(filled(&page, &results).unwrap(), page, "made again");
        assert!(filled("# Title", &results).is_err());
    }
}
