//! The numbers a policy can ask for, by name.
//!
//! Everything crosses to a policy as flat rows of `f64`. An absent value is NaN, never zero. A policy's manifest names
//! the columns it wants, in the order it wants them; new inputs come as new names, so that old policies never notice.

/// A named number, or run of numbers, of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, with its unit last.
    pub name: &'static str,
    /// How many numbers it is.
    pub width: usize,
    /// What it says.
    pub doc: &'static str,
}

const fn one(name: &'static str, doc: &'static str) -> Column {
    Column {
        name,
        width: 1,
        doc,
    }
}

/// Numbers in a throughput sample: start in ms, bytes, transfer in ms, time to first byte in ms, rung.
pub const SAMPLE_WIDTH: usize = 5;
/// Throughput samples a row carries, newest last.
pub const SAMPLES: usize = 16;

/// What is known of a viewer: the row of the kinds `abr`, `optimize` and `score`.
pub const VIEWER: &[Column] = &[
    one("bandwidth_kbps", "estimated bandwidth towards the viewer"),
    one("goodput_kbps", "what was delivered in the last second"),
    one("loss_pct", "packets lost before repair, 0 to 100"),
    one(
        "loss_repaired_pct",
        "packets still lost after repair, 0 to 100",
    ),
    one("jitter_ms", "interarrival jitter"),
    one("rtt_ms", "round-trip time now"),
    one("rtt_min_ms", "least round-trip time seen"),
    one("queue_ms", "one-way queueing delay"),
    one("queue_trend", "change of the queueing delay in ms a second"),
    one(
        "app_limited",
        "1 if less was sent than the link would carry",
    ),
    one("buffer_s", "media buffered ahead by the player"),
    one("buffer_target_s", "what the player aims to buffer"),
    one("latency_s", "distance to live"),
    one("latency_target_s", "distance to live that is aimed at"),
    one("play_rate", "playback rate, 1 is normal"),
    one("stalls", "stalls so far"),
    one("stall_s", "time stalled so far"),
    one("in_stall", "1 while stalled"),
    one("current", "the rung being sent, counted from 0"),
    one("since_switch_ms", "time since the last switch"),
    one("dropped_frames", "frames dropped by the viewer so far"),
    one("screen_width", "width of the picture's place in pixels"),
    one("screen_height", "height of the picture's place in pixels"),
    one("data_saver", "1 if the viewer asks to save data"),
    one("priority", "0 is ordinary, more is more important"),
    one("cap_kbps", "most the viewer may be sent"),
    Column {
        name: "samples",
        width: SAMPLES * SAMPLE_WIDTH,
        doc: "the last throughput samples, oldest first",
    },
];

/// What is known of a rung: a row of the ladder. A rung's number is its row, counted from 0; `need_kbps` rises.
pub const RUNG: &[Column] = &[
    one("need_kbps", "the higher of declared and measured bitrate"),
    one("kbps", "declared bitrate"),
    one("measured_kbps", "measured bitrate"),
    one("peak_kbps", "highest segment or second so far"),
    one("width", "in pixels"),
    one("height", "in pixels"),
    one("fps", "frames a second"),
    one("codec", "0 H.264, 1 VP8, 2 VP9, 3 AV1"),
    one("active", "1 while it is encoded"),
    one("next_keyframe_ms", "until its next keyframe"),
    one("next_bytes", "size of its next segment, as far as known"),
];

/// What is known of a source: the row of the kind `ladder`.
pub const SOURCE: &[Column] = &[
    one("width", "in pixels"),
    one("height", "in pixels"),
    one("fps", "frames a second"),
    one("kbps", "bitrate"),
    one("passable", "1 if its own coding may stand in for a rung"),
    one("cpu_budget", "CPU seconds a second that encoding may take"),
    one("cpu_used", "CPU seconds a second that encoding takes now"),
    one("viewers", "viewers now"),
    one(
        "speed",
        "media seconds encoded per second of real time, 1 is live",
    ),
];

/// The answer to `abr` about a viewer.
pub const PICK: &[Column] = &[
    one("rung", "the rung to send; absent pauses video"),
    one("reason", "a number of the manifest's reasons"),
    one("cap_kbps", "most to send; absent leaves it"),
    one("probe_kbps", "probe the link up to this; absent does not"),
    one("play_rate", "playback rate; absent leaves it"),
    one("buffer_target_s", "what to buffer; absent leaves it"),
];

/// The answer to `optimize` about a viewer.
pub const SAVING: &[Column] = &[
    one("level", "compression: 0 low, 1 medium, 2 high"),
    one("reduction_pct", "data saved, 0 to 100"),
    one("cap_kbps", "most to send"),
    one("fps", "frames a second to keep"),
    one("opus_kbps", "audio bitrate"),
    one("opus_hz", "audio sample rate"),
    one("opus_channels", "audio channels"),
    one("buffer_s", "what to buffer"),
    one("fec", "1 to add forward error correction"),
    one("reason", "a number of the manifest's reasons"),
];

/// The answer to `score` about a viewer.
pub const GRADE: &[Column] = &[
    one("score", "0 to 100"),
    one("bandwidth_part", "what bandwidth takes off"),
    one("loss_part", "what loss takes off"),
    one("jitter_part", "what jitter takes off"),
    one("reason", "a number of the manifest's reasons"),
];

/// The answer to `ladder`, followed by one number for each rung: 1 to encode it.
pub const PLAN: &[Column] = &[
    one("passthrough", "1 to publish the source's own coding"),
    one("preset", "0 ultrafast to 8 veryslow; absent leaves it"),
    one("reason", "a number of the manifest's reasons"),
];

/// The place of a column in rows made of `columns`; `None` if it is not among them.
pub fn place(columns: &[Column], name: &str) -> Option<usize> {
    let at = columns.iter().position(|column| column.name == name)?;
    Some(columns[..at].iter().map(|column| column.width).sum())
}

/// Numbers in a row made of `columns`.
pub fn width(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width).sum()
}

/// Appends a row of the whole contract; what is not named, or not finite, is absent.
pub fn append(rows: &mut Vec<f64>, columns: &[Column], values: &[(&str, Option<f64>)]) {
    let from = rows.len();
    rows.resize(from + width(columns), f64::NAN);
    for (name, value) in values {
        if let (Some(value), Some(at)) = (
            value.filter(|value| value.is_finite()),
            place(columns, name),
        ) && let Some(number) = rows.get_mut(from + at)
        {
            *number = value;
        }
    }
}
