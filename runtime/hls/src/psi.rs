//! Program association and map tables (ISO/IEC 13818-1 §2.4.4).

/// PIDs and stream types of the one program.
pub(crate) const PID_PMT: u16 = 0x1000;
pub(crate) const PID_VIDEO: u16 = 0x100;
pub(crate) const PID_AUDIO: u16 = 0x101;
const STREAM_TYPE_H264: u8 = 0x1b;
const STREAM_TYPE_ADTS: u8 = 0x0f;

/// The payload of the PAT's packet: one program, whose map is at [`PID_PMT`].
pub(crate) fn pat() -> Vec<u8> {
    let mut body = 1u16.to_be_bytes().to_vec(); // program number
    body.extend((0xe000 | PID_PMT).to_be_bytes());
    section(0x00, &body)
}

/// The payload of the PMT's packet. The clock is in the video's packets, or in the audio's if there is no video.
pub(crate) fn pmt(video: bool, audio: bool) -> Vec<u8> {
    let pid_clock = if video { PID_VIDEO } else { PID_AUDIO };
    let mut body = (0xe000 | pid_clock).to_be_bytes().to_vec();
    body.extend(0xf000u16.to_be_bytes()); // no program descriptors
    let streams = [
        (video, STREAM_TYPE_H264, PID_VIDEO),
        (audio, STREAM_TYPE_ADTS, PID_AUDIO),
    ];
    for (_, stream_type, pid) in streams.into_iter().filter(|(present, ..)| *present) {
        body.push(stream_type);
        body.extend((0xe000 | pid).to_be_bytes());
        body.extend(0xf000u16.to_be_bytes()); // no descriptors
    }
    section(0x02, &body)
}

/// A pointer field and a section with its table's one number, version 0, and CRC.
fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len() + 9).unwrap_or(0x3fd);
    let mut out = vec![0, table];
    out.extend((0xb000 | len).to_be_bytes());
    out.extend(1u16.to_be_bytes()); // transport stream id, or program number
    out.extend([0xc1, 0, 0]); // version 0, current; section 0 of 0
    out.extend(body);
    let crc = crc32(&out[1..]);
    out.extend(crc.to_be_bytes());
    out
}

/// CRC of ISO/IEC 13818-1 Annex A.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xffff_ffff, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x04c1_1db7
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_mpeg() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
        // A section with its CRC leaves nothing.
        assert_eq!(crc32(&pat()[1..]), 0);
        assert_eq!(crc32(&pmt(true, true)[1..]), 0);
    }
}
