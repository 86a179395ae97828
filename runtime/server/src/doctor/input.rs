//! An input: what it is, and what becomes of it.

use lockgate_ports::transcoder::SourceInfo;
use lockgate_transcode::inspect::{Inspected, inspect};

use super::Finding;
use crate::{Config, config::encode_settings, package::planning};

pub(super) fn look(config: &Config, url: &str, findings: &mut Vec<Finding>) {
    let inspected = match inspect(url, &encode_settings(config, true)) {
        Ok(inspected) => inspected,
        Err(why) => {
            findings.push(Finding::trouble(
                "input",
                why,
                "try it with `ffprobe`; a URL's protocol has to stand in ingest.protocols",
            ));
            return;
        }
    };
    let source = &inspected.source;
    let lasts = inspected
        .duration_s
        .map_or_else(String::new, |s| format!(", {s:.1} s"));
    findings.push(Finding::fine(
        "input",
        format!("a container {}{lasts}", source.container),
    ));
    video(config, source, findings);
    match &source.audio {
        Some(audio) => findings.push(Finding::fine(
            "sound",
            format!(
                "{} at {} Hz, {} channels",
                audio.codec, audio.sample_rate, audio.channels
            ),
        )),
        None => findings.push(Finding::fine("sound", "none")),
    }
    times(&inspected, findings);
    what_becomes_of_it(config, source, findings);
}

fn video(config: &Config, source: &SourceInfo, findings: &mut Vec<Finding>) {
    let Some(video) = &source.video else {
        findings.push(Finding::fine("pictures", "none"));
        return;
    };
    let rate = video
        .frame_rate
        .map_or_else(String::new, |rate| format!(" at {:.2} fps", rate.fps()));
    let kbps = video
        .bitrate_bps
        .map_or_else(String::new, |bps| format!(", {} kbit/s", bps / 1000));
    findings.push(Finding::fine(
        "pictures",
        format!(
            "{} {}×{}{rate}{kbps}",
            video.codec, video.width, video.height
        ),
    ));
    if video.b_frames {
        findings.push(Finding::warning(
            "B-frames",
            "there are some, which WebRTC cannot carry: it gets encoded rungs, HLS the source as it is",
            "turn them off in the encoder (OBS: tune=zerolatency, or bf=0) to have the source passed through to all",
        ));
    } else {
        findings.push(Finding::fine("B-frames", "none"));
    }
    let segment_s = f64::from(config.hls.segment_s);
    findings.push(match video.gop_max_s {
        Some(gop_s) if gop_s <= segment_s + 0.1 => Finding::fine(
            "keyframes",
            format!("every {gop_s:.1} s at most, within a segment of {segment_s} s"),
        ),
        Some(gop_s) => Finding::warning(
            "keyframes",
            format!("{gop_s:.1} s apart, more than a segment of {segment_s} s: it is encoded anew"),
            format!("set the encoder's keyframe interval to {segment_s} s"),
        ),
        None => Finding::warning(
            "keyframes",
            "none was seen at the beginning",
            "viewers wait for the first; set a keyframe interval in the encoder",
        ),
    });
}

fn times(inspected: &Inspected, findings: &mut Vec<Finding>) {
    let mut wrong = Vec::new();
    let mut count = |many: u64, what: &str| {
        if many > 0 {
            wrong.push(format!("{many} {what}"));
        }
    };
    count(inspected.backward.into(), "run backwards");
    count(inspected.jumps.into(), "jump by more than 5 s");
    count(inspected.untimed.into(), "are missing");
    count(inspected.broken, "packets cannot be read");
    let seen_s = inspected.seen_s;
    findings.push(if wrong.is_empty() {
        Finding::fine(
            "timestamps",
            format!("in order over the {seen_s:.0} s looked at"),
        )
    } else {
        Finding::warning(
            "timestamps",
            format!("of the {seen_s:.0} s looked at: {}", wrong.join(", ")),
            "they are put in order; players may see a discontinuity",
        )
    });
    if let Some(late_s) = inspected.audio_late_s.filter(|late| late.abs() > 0.5) {
        findings.push(Finding::fine(
            "timestamps",
            format!("sound begins {late_s:.1} s after the pictures, and stays there"),
        ));
    }
}

fn what_becomes_of_it(config: &Config, source: &SourceInfo, findings: &mut Vec<Finding>) {
    if source.video.is_none() {
        findings.push(Finding::fine(
            "becomes",
            "sound alone: AAC for HLS, Opus for WebRTC",
        ));
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let budget = config.ladder.cpu_budget * cores as f64;
    let planned = match planning(config, budget) {
        Ok(planning) => planning.plan(source),
        Err(error) => {
            findings.push(Finding::trouble(
                "becomes",
                format!("{error:#}"),
                "look at [policies]",
            ));
            return;
        }
    };
    let rungs: Vec<&str> = planned
        .plan
        .rungs
        .iter()
        .map(|rung| rung.name.as_str())
        .collect();
    let rungs = rungs.join(", ");
    let when = if config.ladder.on_demand {
        "each while somebody watches it"
    } else {
        "all the time"
    };
    let text = match (planned.plan.passthrough, rungs.is_empty()) {
        (true, true) => "passed through as it is; only sound is encoded".to_owned(),
        (true, false) => format!("passed through at the top, and encoded as {rungs}, {when}"),
        (false, _) => format!("encoded as {rungs}, {when}"),
    };
    findings.push(Finding::fine(
        "becomes",
        format!("{text} ({})", planned.reason),
    ));
}
