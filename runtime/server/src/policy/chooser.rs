//! A policy as the simulator's chooser: the same artifact, the same rows, the same limits as while serving.

use std::sync::Arc;

use anyhow::Context as _;
use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Policy, Tick, column, conformance,
    engine::{Cause, Mode},
    project::Projection,
};
use lockgate_simulate::{Chooser, Mode as Delivery, Observation};
use serde_json::Value;

/// A policy that plays one session.
pub(super) struct PolicyChooser {
    policy: Box<dyn Policy>,
    projection: Projection,
    asked: Batch,
    answer: Answer,
    memo: Vec<f64>,
    /// The first fault; from then on the lowest rung is taken.
    pub(super) fault: Option<Fault>,
}

impl PolicyChooser {
    pub(super) fn new(artifact: &Arc<dyn Artifact>, config: &Value) -> anyhow::Result<Self> {
        let projection = Projection::new(artifact.manifest(), Kind::Abr);
        let policy = artifact
            .instantiate(config)
            .context("the policy cannot be started")?;
        let memo = vec![f64::NAN; projection.memo()];
        Ok(Self {
            policy,
            projection,
            asked: conformance::empty(),
            answer: Answer::default(),
            memo,
            fault: None,
        })
    }

    fn decide(&mut self, full: &Batch) -> Result<f64, Fault> {
        self.projection.apply(full, &mut self.asked);
        self.asked.memo.clone_from(&self.memo);
        self.policy
            .decide(Kind::Abr, &self.asked, &mut self.answer)?;
        if let Some(refusal) = self.answer.refused.first() {
            return Err(refusal.fault.clone());
        }
        conformance::form(Kind::Abr, &self.asked, &self.answer, self.projection.memo())
            .map_err(Fault::BadOutput)?;
        self.memo.clone_from(&self.answer.memo);
        Ok(self.answer.rows.first().copied().unwrap_or(f64::NAN))
    }
}

impl Chooser for PolicyChooser {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rung's number, checked"
    )]
    fn choose(&mut self, observation: &Observation<'_>) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        match self.decide(&question(observation)) {
            // To pause video is to take the least there is: the models know nothing less.
            Ok(rung) if rung.is_nan() => 0,
            Ok(rung) => rung as usize,
            Err(fault) => {
                self.fault = Some(fault);
                0
            }
        }
    }
}

/// What the model knows, in the columns of the contract.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn question(seen: &Observation<'_>) -> Batch {
    let mut batch = conformance::empty();
    batch.tick = Tick {
        now_ms: seen.now_ms(),
        seed: seen.step as u64,
        mode: if seen.mode == Delivery::Rtc {
            Mode::Webrtc
        } else {
            Mode::Hls
        },
        cause: if seen.mode == Delivery::Rtc {
            Cause::Tick
        } else {
            Cause::Segment
        },
    };
    batch.rung_count = seen.ladder_kbps.len();
    for (rung, kbps) in seen.ladder_kbps.iter().enumerate() {
        let next_bytes = seen.next_bits.get(rung).map(|bits| bits / 8.0);
        column::append(
            &mut batch.rungs,
            column::RUNG,
            &[
                ("need_kbps", Some(*kbps)),
                ("kbps", Some(*kbps)),
                ("codec", Some(0.0)),
                ("active", Some(1.0)),
                ("next_bytes", next_bytes),
            ],
        );
        batch.rung_names.push(format!("{kbps}").into());
    }
    let last = seen.history.last();
    let bandwidth = seen
        .link
        .map(|link| link.bandwidth_kbps)
        .or_else(|| last.map(|sample| sample.kbps));
    column::append(
        &mut batch.rows,
        column::VIEWER,
        &[
            ("bandwidth_kbps", bandwidth),
            ("goodput_kbps", seen.link.map(|link| link.received_kbps)),
            ("loss_pct", seen.link.map(|link| link.loss_pct)),
            ("jitter_ms", seen.link.map(|link| link.jitter_ms)),
            ("rtt_ms", seen.link.map(|link| link.rtt_ms)),
            ("queue_ms", seen.link.map(|link| link.queue_ms)),
            (
                "app_limited",
                seen.link.map(|link| f64::from(u8::from(link.app_limited))),
            ),
            (
                "buffer_s",
                (seen.mode != Delivery::Rtc).then_some(seen.buffer_s),
            ),
            (
                "buffer_target_s",
                (seen.mode != Delivery::Rtc).then_some(seen.buffer_max_s),
            ),
            ("stalls", Some(f64::from(seen.stalls))),
            ("stall_s", Some(seen.stalls_s)),
            ("current", seen.chosen.map(|rung| rung as f64)),
            ("since_switch_ms", Some(seen.since_switch_s * 1000.0)),
        ],
    );
    let samples = column::place(column::VIEWER, "samples").unwrap_or(0);
    let free = column::SAMPLES.saturating_sub(seen.history.len());
    for (at, sample) in seen
        .history
        .iter()
        .rev()
        .take(column::SAMPLES)
        .rev()
        .enumerate()
    {
        let from = samples + (free + at) * column::SAMPLE_WIDTH;
        let numbers = [
            sample.start_s * 1000.0,
            sample.bits / 8.0,
            sample.transfer_s * 1000.0,
            sample.ttfb_s * 1000.0,
            sample.rung as f64,
        ];
        if let Some(place) = batch.rows.get_mut(from..from + numbers.len()) {
            place.copy_from_slice(&numbers);
        }
    }
    batch.row_count = 1;
    batch
}
