//! `policies`: what decisions cost in each engine, and what serving with policies costs besides.

mod decisions;
mod engines;
mod loading;
mod serving;

use serde_json::{Map, Value, json};

use crate::table::{Distribution, Report, goal};
use engines::Engines;

pub(crate) async fn measure() -> anyhow::Result<Vec<Report>> {
    let engines = Engines::start()?;
    let decisions = decisions::measure(&engines)?;
    let mut lines = loading::auth(&engines)?;
    lines.extend(serving::auth(&engines).await?);
    lines.extend(loading::load()?);
    lines.extend(loading::memory(&engines)?);
    lines.extend(serving::swap(&engines).await?);
    lines.extend(serving::ten_thousand(&engines).await?);
    lines.extend(serving::log(&engines).await?);
    let mut figures = Map::new();
    for line in &lines {
        let mut figure = line.sample.figures();
        if let (Value::Object(figure), Some(most)) = (&mut figure, line.most) {
            figure.insert("goal".to_owned(), json!(most));
        }
        figures.insert(line.name.clone(), figure);
    }
    let serving = Report {
        title: "Serving with policies",
        notes: vec![
            "the reference policies, `abr` where nothing else is said, in batches of 1000 viewers; goals are for the \
             median, ticks lost for all"
                .to_owned(),
            "auth: in turn, each request with an instance made for it alone; at the desk, one every ms, as the asker \
             waits for it"
                .to_owned(),
            "swaps go to Wasm and to Luau in turn; a tick is lost where its answer misses the deadline of 20 ms, as it may \
             where other load has the cores: so it is counted without swaps too"
                .to_owned(),
            "10,000 viewers: ten broadcasts; all that the desk's thread runs, by the kernel's count: beside the policy, \
             rows laid out for it, what is carried and the log of changes, which the built-in's line shows"
                .to_owned(),
            "resident: what this process grows by for each of many instances that have answered once".to_owned(),
        ],
        head: vec!["", "n", "least", "median", "p99", "max", "goal"],
        rows: lines.iter().map(Line::row).collect(),
        figures: Value::Object(figures),
    };
    Ok(vec![decisions, serving])
}

/// A line of the table.
struct Line {
    what: String,
    /// What programs call it.
    name: String,
    sample: Distribution,
    most: Option<f64>,
}

impl Line {
    fn of(what: impl Into<String>, name: impl Into<String>, sample: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            name: name.into(),
            sample: Distribution::new(sample),
            most: None,
        }
    }

    /// The same with the most that its median should be.
    fn at_most(self, most: f64) -> Self {
        let most = Some(most);
        Self { most, ..self }
    }

    fn row(&self) -> Vec<String> {
        let sample = &self.sample;
        let digits = |value: f64| match value {
            value if value >= 100.0 => format!("{value:.0}"),
            value if value >= 10.0 => format!("{value:.1}"),
            value => format!("{value:.2}"),
        };
        let mut row = vec![self.what.clone(), sample.count().to_string()];
        row.extend(
            [
                sample.min(),
                sample.median(),
                sample.quantile(0.99),
                sample.max(),
            ]
            .map(digits),
        );
        row.push(goal(sample.median(), self.most));
        row
    }
}
