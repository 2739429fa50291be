//! Plots of costs against sizes.

use super::{Results, number};
use plotters::{coord::ranged1d::ValueFormatter, prelude::*};
use std::{error::Error, path::Path};

/// What grows, and what is shown of it.
pub(super) struct Axis {
    /// Also the name of the file.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// The headings and keys of its table.
    pub(super) columns: &'static [(&'static str, &'static str)],
    panels: &'static [Panel],
}

/// One diagram.
struct Panel {
    title: &'static str,
    lines: &'static [Line],
}

/// One quantity of one side.
struct Line {
    name: &'static str,
    key: &'static str,
    side: Option<&'static str>,
}

const fn line(name: &'static str, key: &'static str) -> Line {
    Line {
        name,
        key,
        side: None,
    }
}

const fn toolkit(name: &'static str, key: &'static str) -> Line {
    Line {
        name,
        key,
        side: Some("toolkit"),
    }
}

const fn floor(name: &'static str, key: &'static str) -> Line {
    Line {
        name,
        key,
        side: Some("floor"),
    }
}

pub(super) const AXES: [Axis; 5] = [
    Axis {
        name: "instances",
        title: "Instances of one service",
        columns: &[
            ("instances", "size"),
            ("", "side"),
            ("first list, ms", "list_ms"),
            ("its CPU, ms", "list_cpu_ms"),
            ("put to subscriber p50, µs", "put_p50_us"),
            ("p99, µs", "put_p99_us"),
            ("CPU of a change, µs", "change_cpu_us"),
            ("memory, MB", "memory_mb"),
        ],
        panels: &[
            Panel {
                title: "put to subscriber, µs",
                lines: &[
                    toolkit("p50", "put_p50_us"),
                    toolkit("p99", "put_p99_us"),
                    floor("raw watch, p50", "put_p50_us"),
                    floor("raw watch, p99", "put_p99_us"),
                ],
            },
            Panel {
                title: "CPU of one change, µs",
                lines: &[
                    toolkit("instancer", "change_cpu_us"),
                    floor("raw watch and a hash map", "change_cpu_us"),
                ],
            },
            Panel {
                title: "first list, ms",
                lines: &[
                    toolkit("until ready", "list_ms"),
                    floor("raw pages", "list_ms"),
                ],
            },
            Panel {
                title: "memory of what is known, MB",
                lines: &[
                    toolkit("instances", "memory_mb"),
                    floor("raw pairs in a hash map", "memory_mb"),
                ],
            },
        ],
    },
    Axis {
        name: "subscribers",
        title: "Subscribers of one instancer",
        columns: &[
            ("subscribers", "size"),
            ("put to the last one p50, µs", "put_p50_us"),
            ("p99, µs", "put_p99_us"),
            ("CPU of a change, µs", "change_cpu_us"),
            ("memory, MB", "memory_mb"),
        ],
        panels: &[
            Panel {
                title: "put to the last subscriber, µs",
                lines: &[line("p50", "put_p50_us"), line("p99", "put_p99_us")],
            },
            Panel {
                title: "CPU of one change, µs",
                lines: &[line("all subscribers", "change_cpu_us")],
            },
        ],
    },
    Axis {
        name: "instancers",
        title: "Instancers of one client",
        columns: &[
            ("instancers", "size"),
            ("all ready, ms", "list_ms"),
            ("memory of each, KB", "each_kb"),
            ("idle CPU, ms a second", "idle_cpu_ms"),
            ("requests a second", "idle_requests"),
            ("connections", "connections"),
        ],
        panels: &[
            Panel {
                title: "all ready, ms",
                lines: &[line("one service each", "list_ms")],
            },
            Panel {
                title: "memory of each, KB",
                lines: &[line("with its subscriber", "each_kb")],
            },
            Panel {
                title: "while nothing changes, a second",
                lines: &[
                    line("CPU, ms", "idle_cpu_ms"),
                    line("requests to etcd", "idle_requests"),
                    line("connections", "connections"),
                ],
            },
        ],
    },
    Axis {
        name: "registrations",
        title: "Registrations of one process",
        columns: &[
            ("registrations", "size"),
            ("", "side"),
            ("time, ms", "took_ms"),
            ("CPU, ms", "cpu_ms"),
            ("peak memory of the process, MB", "memory_mb"),
            ("requests", "requests"),
            ("CPU to keep them, ms a second", "keep_cpu_ms"),
            ("etcd's, ms a second", "keep_etcd_cpu_ms"),
            ("time to end them, ms", "end_ms"),
            ("CPU of that, ms", "end_cpu_ms"),
            ("leases", "leases"),
        ],
        panels: &[
            Panel {
                title: "until all are registered, ms",
                lines: &[
                    toolkit("registrars", "took_ms"),
                    floor("puts at once", "took_ms"),
                ],
            },
            Panel {
                title: "CPU to keep them, ms a second",
                lines: &[
                    toolkit("registrars", "keep_cpu_ms"),
                    floor("one lease", "keep_cpu_ms"),
                ],
            },
            Panel {
                title: "peak memory of the process, MB",
                lines: &[
                    toolkit("registrars", "memory_mb"),
                    floor("puts at once", "memory_mb"),
                ],
            },
        ],
    },
    Axis {
        name: "clients",
        title: "Clients of one etcd",
        columns: &[
            ("clients", "size"),
            ("put to the last one p50, µs", "put_p50_us"),
            ("p99, µs", "put_p99_us"),
            ("etcd's CPU of a change, µs", "change_etcd_cpu_us"),
            ("its idle CPU, ms a second", "idle_etcd_cpu_ms"),
            ("its memory, MB", "etcd_mb"),
            ("requests a second", "idle_requests"),
            ("connections", "connections"),
        ],
        panels: &[
            Panel {
                title: "put to the last client, µs",
                lines: &[line("p50", "put_p50_us"), line("p99", "put_p99_us")],
            },
            Panel {
                title: "etcd's CPU of one change, µs",
                lines: &[line("all clients follow it", "change_etcd_cpu_us")],
            },
            Panel {
                title: "etcd, while nothing changes",
                lines: &[
                    line("CPU, ms a second", "idle_etcd_cpu_ms"),
                    line("memory, MB", "etcd_mb"),
                    line("requests a second", "idle_requests"),
                ],
            },
        ],
    },
];

/// A picture: some diagrams beside each other.
pub(super) struct Plot {
    axis: &'static Axis,
    diagrams: Vec<Diagram>,
}

struct Diagram {
    title: &'static str,
    curves: Vec<Curve>,
}

struct Curve {
    name: &'static str,
    is_floor: bool,
    points: Vec<(f64, f64)>,
}

/// The plots that there are results for.
pub(super) fn plots(results: &Results) -> impl Iterator<Item = Plot> {
    static ALL: [Axis; 5] = AXES;
    let plots = ALL.iter().map(|axis| Plot {
        axis,
        diagrams: axis
            .panels
            .iter()
            .map(|panel| diagram(axis, panel, results))
            .collect(),
    });
    plots.filter(|plot| plot.diagrams.iter().any(|it| !it.curves.is_empty()))
}

fn diagram(axis: &Axis, panel: &Panel, results: &Results) -> Diagram {
    let curves = panel.lines.iter().map(|line| {
        let rows = results.growth(axis.name, line.side);
        let points = rows
            .into_iter()
            .filter_map(|row| Some((number(row, "size")?, number(row, line.key)?)));
        Curve {
            name: line.name,
            is_floor: line.side == Some("floor"),
            points: points.collect(),
        }
    });
    Diagram {
        title: panel.title,
        curves: curves.filter(|curve| curve.points.len() > 1).collect(),
    }
}

/// The size of a diagram, in pixels.
const SIZE: (u32, u32) = (400, 300);
const INK: RGBColor = RGBColor(60, 64, 67);
const GRID: RGBColor = RGBColor(228, 230, 232);
/// Of the toolkit's lines, in their order. They differ in lightness as well as in hue.
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 92, 175),
    RGBColor(222, 111, 0),
    RGBColor(0, 150, 110),
];
/// Of the floor's.
const GREYS: [RGBColor; 2] = [RGBColor(120, 124, 128), RGBColor(178, 182, 186)];

impl Plot {
    /// Draws it into `NAME.svg` in `directory`.
    pub(super) fn draw(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        let file = directory.join(format!("{}.svg", self.axis.name));
        let columns = match self.diagrams.len() {
            4 => 2,
            many => many,
        };
        let rows = self.diagrams.len().div_ceil(columns);
        let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
        let root = SVGBackend::new(&file, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, diagram) in root
            .split_evenly((rows, columns))
            .iter()
            .zip(&self.diagrams)
        {
            diagram.draw(area, self.axis)?;
        }
        root.present()?;
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Diagram {
    fn draw(&self, area: &Area<'_>, axis: &Axis) -> Result<(), Box<dyn Error>> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let (Some(least), Some(most)) = (
            points().map(|it| it.0).min_by(f64::total_cmp),
            points().map(|it| it.0).max_by(f64::total_cmp),
        ) else {
            return Ok(());
        };
        let positive = points().map(|it| it.1).filter(|y| *y > 0.0);
        let low = positive.min_by(f64::total_cmp).unwrap_or(1.0);
        let high = points()
            .map(|it| it.1)
            .max_by(f64::total_cmp)
            .unwrap_or(1.0)
            .max(low);
        let x = (least..most).log_scale();
        let mut chart = ChartBuilder::on(area);
        chart
            .caption(self.title, ("sans-serif", 16, &INK))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(56);
        // The part of the height that is above the curves: for the legend.
        let legend = 0.1 + 0.08 * self.curves.len() as f64;
        // What grows by orders of magnitude is not seen from zero.
        if high / low > 30.0 {
            let low = decade_below(low);
            let y = (low..low * (high / low).powf(1.0 / (1.0 - legend))).log_scale();
            self.draw_on(&mut chart.build_cartesian_2d(x, y)?, axis)
        } else {
            let chart = &mut chart.build_cartesian_2d(x, 0.0..high / (1.0 - legend))?;
            self.draw_on(chart, axis)
        }
    }

    fn draw_on<'a, Y>(
        &self,
        chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, Y>>,
        axis: &Axis,
    ) -> Result<(), Box<dyn Error>>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let sizes = |size: &f64| short(*size);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&sizes)
            .y_label_formatter(&sizes)
            .x_desc(axis.name)
            .label_style(("sans-serif", 12, &INK))
            .axis_desc_style(("sans-serif", 13, &INK))
            .draw()?;
        let (mut colours, mut greys) = (COLOURS.iter().cycle(), GREYS.iter().cycle());
        for curve in &self.curves {
            let next = if curve.is_floor {
                greys.next()
            } else {
                colours.next()
            };
            let colour = *next.unwrap_or(&BLACK);
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            let dots = curve
                .points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(TRANSPARENT)
            .label_font(("sans-serif", 12, &INK))
            .draw()?;
        Ok(())
    }
}

fn decade_below(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// A number in a few characters.
fn short(number: f64) -> String {
    match number {
        1e6.. => format!("{}M", trimmed(number / 1e6)),
        1e3.. => format!("{}k", trimmed(number / 1e3)),
        _ => trimmed(number),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_drawn_and_nothing_else() {
        let row = |size: usize, side: &str| {
            format!(
                r#"{{"measure":"growth","table":"growth","axis":"instances","size":{size},"side":"{side}","put_p50_us":{}}}"#,
                400 + size
            )
        };
        let rows: Vec<_> = [10, 100, 1000]
            .iter()
            .flat_map(|size| [row(*size, "toolkit"), row(*size, "floor")])
            .collect();
        let results = Results::parse(&rows.join("\n")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let plots: Vec<_> = plots(&results).collect();
        assert_eq!(plots.len(), 1);
        plots[0].draw(directory.path()).unwrap();
        let drawn = std::fs::read_to_string(directory.path().join("instances.svg")).unwrap();
        for text in ["put to subscriber", "raw watch, p50", "instances", "1k"] {
            assert!(drawn.contains(text), "{text}");
        }
        assert!(!drawn.contains("p99"), "not measured");
    }
}
