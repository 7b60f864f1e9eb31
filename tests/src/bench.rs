//! `cargo xtask bench`: what the figures in the closing notes come from. Each figure is a ratio to a peer, or to
//! itself on another size, measured in the same run.

pub mod connection;
pub mod decide;
pub mod edge;
pub mod fleet;
pub mod live;
pub mod merge;
pub mod push;
pub mod text;

use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one figure is measured.
pub const MEASURE: Duration = Duration::from_millis(700);

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The number, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The limit it is held to, and whether it is kept; `None`: it is there to be read.
    pub aim: Option<(String, bool)>,
}

impl Figure {
    /// A figure without an aim.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure { name: name.into(), value, unit, aim: None }
    }

    /// With an aim: at most `max`.
    pub fn at_most(self, max: f64) -> Figure {
        let kept = self.value <= max;
        Figure { aim: Some((format!("≤ {max}"), kept)), ..self }
    }

    /// With an aim: at least `min`.
    pub fn at_least(self, min: f64) -> Figure {
        let kept = self.value >= min;
        Figure { aim: Some((format!("≥ {min}"), kept)), ..self }
    }

    /// For the JSON file.
    pub fn to_json(&self) -> Value {
        let (aim, kept) = self.aim.clone().unzip();
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "aim": aim, "kept": kept })
    }
}

/// The figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
    let lines = figures.iter().map(|figure| {
        let aim = match &figure.aim {
            Some((aim, true)) => format!("{aim}  ok"),
            Some((aim, false)) => format!("{aim}  MISSED"),
            None => String::new(),
        };
        let pad = " ".repeat(width - figure.name.chars().count());
        format!("{}{pad}  {:>12.2} {:<10} {aim}\n", figure.name, figure.value, figure.unit)
    });
    lines.collect()
}

/// The median time of one run of `work`, in nanoseconds, over [`MEASURE`] and at least five runs.
pub fn median_ns<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < MEASURE || times.len() < 5 {
        let start = Instant::now();
        black_box(work());
        times.push(start.elapsed().as_nanos() as f64);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The number that `part` (0 to 1) of these are below; 0 of none.
pub fn percentile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len() as f64 * part) as usize;
    numbers.get(at.min(numbers.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
