//! The RTCP that a client says and hears (RFC 3550 §6.4, RFC 4585 §6, RFC 5104 §4.3).

/// A reception report block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) ssrc: u32,
    /// Of 256.
    pub(crate) fraction_lost: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    /// In the clock of the stream.
    pub(crate) jitter: u32,
    /// The middle of the last sender report's NTP time.
    pub(crate) last_sender_report: u32,
    /// Since then, in 1/65536 s.
    pub(crate) delay: u32,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A sender report: its SSRC, and the middle of its NTP time.
    Sending { ssrc: u32, ntp_middle: u32 },
    /// How one of our streams arrives.
    Reception(Report),
    /// Packets of one of our streams are missing.
    Missing { ssrc: u32, sequences: Vec<u16> },
    /// A keyframe is wanted.
    KeyframeWanted,
}

fn head(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend([0x80 | count, kind]);
    out.extend(words.to_be_bytes());
}

/// A receiver report.
pub(crate) fn receiver_report(out: &mut Vec<u8>, ours: u32, reports: &[Report]) {
    let reports = reports.get(..31.min(reports.len())).unwrap_or_default();
    head(out, reports.len() as u8, 201, 1 + 6 * reports.len() as u16);
    out.extend(ours.to_be_bytes());
    for report in reports {
        out.extend(report.ssrc.to_be_bytes());
        let lost = report.lost.min(0x007f_ffff);
        out.extend(((u32::from(report.fraction_lost) << 24) | lost).to_be_bytes());
        out.extend(report.highest.to_be_bytes());
        out.extend(report.jitter.to_be_bytes());
        out.extend(report.last_sender_report.to_be_bytes());
        out.extend(report.delay.to_be_bytes());
    }
}

/// A sender report without blocks.
pub(crate) fn sender_report(
    out: &mut Vec<u8>,
    ours: u32,
    ntp: u64,
    timestamp: u32,
    packets: u32,
    octets: u32,
) {
    head(out, 0, 200, 6);
    out.extend(ours.to_be_bytes());
    out.extend(ntp.to_be_bytes());
    for word in [timestamp, packets, octets] {
        out.extend(word.to_be_bytes());
    }
}

/// A keyframe is wanted (RFC 4585 §6.3.1).
pub(crate) fn picture_loss(out: &mut Vec<u8>, ours: u32, theirs: u32) {
    head(out, 1, 206, 2);
    out.extend(ours.to_be_bytes());
    out.extend(theirs.to_be_bytes());
}

/// These packets are missing (RFC 4585 §6.2.1); in order, at most [`NACK_MAX`].
pub(crate) fn nack(out: &mut Vec<u8>, ours: u32, theirs: u32, sequences: &[u16]) {
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for sequence in sequences.iter().take(NACK_MAX) {
        if let Some((first, mask)) = pairs.last_mut() {
            let step = sequence.wrapping_sub(*first);
            if (1..=16).contains(&step) {
                *mask |= 1 << (step - 1);
                continue;
            }
        }
        pairs.push((*sequence, 0));
    }
    head(out, 1, 205, 2 + pairs.len() as u16);
    out.extend(ours.to_be_bytes());
    out.extend(theirs.to_be_bytes());
    for (first, mask) in pairs {
        out.extend(first.to_be_bytes());
        out.extend(mask.to_be_bytes());
    }
}

/// Reads a compound; what is not known or not whole is passed over.
pub(crate) fn read(mut compound: &[u8], heard: &mut impl FnMut(Heard)) {
    while let Some((head, _)) = compound.split_first_chunk::<4>() {
        let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(body) = compound.get(4..len) else {
            return;
        };
        let word = |at: usize| {
            let bytes = body.get(4 * at..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let (count, kind) = (usize::from(head[0] & 0x1f), head[1]);
        match (kind, count) {
            (200, _) => {
                if let (Some(ssrc), Some(high), Some(low)) = (word(0), word(1), word(2)) {
                    let ntp_middle = (high << 16) | (low >> 16);
                    heard(Heard::Sending { ssrc, ntp_middle });
                }
                blocks(count, 6, &word, heard);
            }
            (201, _) => blocks(count, 1, &word, heard),
            (205, 1) => {
                let mut sequences = Vec::new();
                for pair in (2..).map_while(word) {
                    let first = (pair >> 16) as u16;
                    sequences.push(first);
                    let bits = (0..16).filter(|bit| pair & (1 << bit) != 0);
                    sequences.extend(bits.map(|bit| first.wrapping_add(bit + 1)));
                }
                if let Some(ssrc) = word(1) {
                    heard(Heard::Missing { ssrc, sequences });
                }
            }
            (206, 1 | 4) => heard(Heard::KeyframeWanted),
            _ => {}
        }
        compound = compound.get(len..).unwrap_or_default();
    }
}

fn blocks(
    count: usize,
    first: usize,
    word: &impl Fn(usize) -> Option<u32>,
    heard: &mut impl FnMut(Heard),
) {
    for at in (0..count).map(|block| first + 6 * block) {
        let words: Option<Vec<u32>> = (at..at + 6).map(word).collect();
        let words: Option<[u32; 6]> = words.and_then(|words| words.try_into().ok());
        let Some([ssrc, loss, highest, jitter, last, delay]) = words else {
            return;
        };
        heard(Heard::Reception(Report {
            ssrc,
            fraction_lost: (loss >> 24) as u8,
            lost: loss & 0x00ff_ffff,
            highest,
            jitter,
            last_sender_report: last,
            delay,
        }));
    }
}

/// What is asked for at once.
pub(crate) const NACK_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let mut out = Vec::new();
        let report = Report {
            ssrc: 7,
            fraction_lost: 12,
            lost: 300,
            highest: 70_000,
            jitter: 90,
            last_sender_report: 5,
            delay: 6,
        };
        receiver_report(&mut out, 1, &[report]);
        sender_report(&mut out, 1, 0x0001_0002_0003_0004, 9, 10, 11);
        picture_loss(&mut out, 1, 7);
        nack(&mut out, 1, 7, &[65_534, 65_535, 3, 40]);
        let mut heard = Vec::new();
        read(&out, &mut |one| heard.push(one));
        assert_eq!(
            heard,
            [
                Heard::Reception(report),
                Heard::Sending {
                    ssrc: 1,
                    ntp_middle: 0x0002_0003
                },
                Heard::KeyframeWanted,
                Heard::Missing {
                    ssrc: 7,
                    sequences: vec![65_534, 65_535, 3, 40]
                },
            ]
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            read(&bytes, &mut |_| {});
        }
    }
}
