//! The columns of the contract as methods: generated from the runtime's own table, by the test that also checks it.

use crate::glue::{ABSENT, MOST, places};

/// A column's name and how many numbers it is.
pub(crate) type Row = (&'static str, usize);

macro_rules! rows {
    ($(#[$doc:meta])* $name:ident, $all:ident, $($(#[$column_doc:meta])* $column:ident: $width:tt,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a> {
            numbers: &'a [f64],
            places: &'a [u16; MOST],
        }

        const _: () = {
            #[allow(non_camel_case_types, reason = "named as the columns are")]
            enum Column { $($column,)* }

            impl<'a> $name<'a> {
                #[doc(hidden)]
                #[inline]
                pub fn over(numbers: &'a [f64], places: &'a [u16; MOST]) -> Self {
                    Self { numbers, places }
                }

                /// For tests: a row that knows these columns and no others.
                pub fn with(known: &[(&str, f64)]) -> $name<'static> {
                    static PLACES: ([u16; MOST], usize) = places($all, &[]);
                    let mut numbers = vec![f64::NAN; PLACES.1];
                    for (name, value) in known {
                        let at = $all.iter().position(|column| column.0 == *name);
                        let at = at.unwrap_or_else(|| panic!("there is no column {name:?}"));
                        numbers[usize::from(PLACES.0[at])] = *value;
                    }
                    $name { numbers: numbers.leak(), places: &PLACES.0 }
                }

                #[inline]
                fn numbers(&self, column: usize, width: usize) -> &'a [f64] {
                    match self.places[column] {
                        ABSENT => &[],
                        at => {
                            let at = usize::from(at);
                            self.numbers.get(at..at + width).unwrap_or(&[])
                        }
                    }
                }

                $($(#[$column_doc])*
                #[inline]
                pub fn $column(&self) -> rows!(@type $width) {
                    rows!(@get self, Column::$column as usize, $width)
                })*
            }
        };

        pub(crate) const $all: &[Row] = &[$((stringify!($column), $width),)*];
    };
    (@type 1) => { Option<f64> };
    (@type $width:tt) => { &'a [f64] };
    (@get $self:ident, $at:expr, 1) => {
        $self.numbers($at, 1).first().copied().filter(|number| number.is_finite())
    };
    (@get $self:ident, $at:expr, $width:tt) => { $self.numbers($at, $width) };
}

rows! {
    /// What is known of a viewer.
    Viewer, VIEWER,
    /// Estimated bandwidth towards the viewer.
    bandwidth_kbps: 1,
    /// What was delivered in the last second.
    goodput_kbps: 1,
    /// Packets lost before repair, 0 to 100.
    loss_pct: 1,
    /// Packets still lost after repair, 0 to 100.
    loss_repaired_pct: 1,
    /// Interarrival jitter.
    jitter_ms: 1,
    /// Round-trip time now.
    rtt_ms: 1,
    /// Least round-trip time seen.
    rtt_min_ms: 1,
    /// One-way queueing delay.
    queue_ms: 1,
    /// Change of the queueing delay in ms a second.
    queue_trend: 1,
    /// 1 if less was sent than the link would carry.
    app_limited: 1,
    /// Media buffered ahead by the player.
    buffer_s: 1,
    /// What the player aims to buffer.
    buffer_target_s: 1,
    /// Distance to live.
    latency_s: 1,
    /// Distance to live that is aimed at.
    latency_target_s: 1,
    /// Playback rate, 1 is normal.
    play_rate: 1,
    /// Stalls so far.
    stalls: 1,
    /// Time stalled so far.
    stall_s: 1,
    /// 1 while stalled.
    in_stall: 1,
    /// The rung being sent, counted from 0.
    current: 1,
    /// Time since the last switch.
    since_switch_ms: 1,
    /// Frames dropped by the viewer so far.
    dropped_frames: 1,
    /// Width of the picture's place in pixels.
    screen_width: 1,
    /// Height of the picture's place in pixels.
    screen_height: 1,
    /// 1 if the viewer asks to save data.
    data_saver: 1,
    /// 0 is ordinary, more is more important.
    priority: 1,
    /// Most the viewer may be sent.
    cap_kbps: 1,
    /// The last throughput samples, oldest first.
    samples: 80,
}

rows! {
    /// What is known of a rung.
    Rung, RUNG,
    /// The higher of declared and measured bitrate.
    need_kbps: 1,
    /// Declared bitrate.
    kbps: 1,
    /// Measured bitrate.
    measured_kbps: 1,
    /// Highest segment or second so far.
    peak_kbps: 1,
    /// In pixels.
    width: 1,
    /// In pixels.
    height: 1,
    /// Frames a second.
    fps: 1,
    /// 0 H.264, 1 VP8, 2 VP9, 3 AV1.
    codec: 1,
    /// 1 while it is encoded.
    active: 1,
    /// Until its next keyframe.
    next_keyframe_ms: 1,
    /// Size of its next segment, as far as known.
    next_bytes: 1,
}

rows! {
    /// What is known of a source.
    Source, SOURCE,
    /// In pixels.
    width: 1,
    /// In pixels.
    height: 1,
    /// Frames a second.
    fps: 1,
    /// Bitrate.
    kbps: 1,
    /// 1 if its own coding may stand in for a rung.
    passable: 1,
    /// CPU seconds a second that encoding may take.
    cpu_budget: 1,
    /// CPU seconds a second that encoding takes now.
    cpu_used: 1,
    /// Viewers now.
    viewers: 1,
    /// Media seconds encoded per second of real time, 1 is live.
    speed: 1,
}
