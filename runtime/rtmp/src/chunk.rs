//! The chunk stream (RTMP §5.3): messages cut into chunks, interleaved over chunk streams.

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Fault;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What it is: `8` audio, `9` video, `20` a command in AMF0, …
    pub(crate) kind: u8,
    /// In ms; it wraps.
    pub(crate) timestamp: u32,
    pub(crate) stream_id: u32,
    pub(crate) payload: Bytes,
}

/// Puts chunks together.
#[derive(Debug)]
pub(crate) struct Reader {
    streams: HashMap<u32, Lane>,
    chunk_len: usize,
    /// Where a chunk's payload is being read: its chunk stream, and how much is left.
    inside: Option<(u32, usize)>,
    /// Bytes of messages that are not whole yet.
    held: usize,
}

#[derive(Debug, Default)]
struct Lane {
    timestamp: u32,
    /// The last timestamp field as it stood, which is a step or, after a whole header, the time itself.
    field: u32,
    is_extended: bool,
    len: usize,
    kind: u8,
    stream_id: u32,
    payload: BytesMut,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            streams: HashMap::new(),
            chunk_len: 128,
            inside: None,
            held: 0,
        }
    }
}

impl Reader {
    /// The next whole message; `None` if more bytes are needed.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, Fault> {
        loop {
            let Some((id, left)) = self.inside else {
                if !self.header(buffer)? {
                    return Ok(None);
                }
                continue;
            };
            let Some(lane) = self.streams.get_mut(&id) else {
                self.inside = None;
                continue;
            };
            let len = left.min(buffer.len());
            lane.payload.extend_from_slice(&buffer.split_to(len));
            self.held += len;
            if len < left {
                self.inside = Some((id, left - len));
                return Ok(None);
            }
            self.inside = None;
            if lane.payload.len() < lane.len {
                continue;
            }
            let payload = std::mem::take(&mut lane.payload).freeze();
            self.held -= payload.len();
            return Ok(Some(Message {
                kind: lane.kind,
                timestamp: lane.timestamp,
                stream_id: lane.stream_id,
                payload,
            }));
        }
    }

    /// The peer cuts its messages into chunks of this length from now on (§5.4.1).
    pub(crate) fn set_chunk_len(&mut self, len: u32) -> Result<(), Fault> {
        match usize::try_from(len) {
            Ok(len @ 1..) => {
                self.chunk_len = len.min(MESSAGE_LEN_MAX);
                Ok(())
            }
            _ => Err(Fault("it has chunks of no length")),
        }
    }

    /// The peer gives up the message it has begun on a chunk stream (§5.4.2).
    pub(crate) fn abort(&mut self, id: u32) {
        if let Some(lane) = self.streams.get_mut(&id) {
            self.held -= lane.payload.len();
            lane.payload.clear();
        }
    }

    /// Reads a chunk's header if all of it is there (§5.3.1).
    fn header(&mut self, buffer: &mut BytesMut) -> Result<bool, Fault> {
        let mut rest: &[u8] = buffer;
        let Some(first) = take::<1>(&mut rest) else {
            return Ok(false);
        };
        let id = match first[0] & 0x3f {
            0 => take::<1>(&mut rest).map(|byte| u32::from(byte[0]) + 64),
            1 => take::<2>(&mut rest)
                .map(|bytes| u32::from(bytes[0]) + 256 * u32::from(bytes[1]) + 64),
            id => Some(u32::from(id)),
        };
        let Some(id) = id else { return Ok(false) };
        let format = first[0] >> 6;
        let is_known = self.streams.contains_key(&id);
        if !is_known && format != 0 {
            // §5.3.1.2.1: a chunk stream begins with a whole header. librtmp begins with one without a stream.
            if format != 1 {
                return Err(Fault("a chunk stream begins in its middle"));
            }
        }
        if !is_known && self.streams.len() >= LANES_MAX {
            return Err(Fault("it has too many chunk streams"));
        }
        let fresh = Lane::default();
        let lane = self.streams.get(&id).unwrap_or(&fresh);
        let is_first = lane.payload.is_empty();
        if !is_first && format != 3 {
            return Err(Fault("a message begins before the one before it has ended"));
        }
        let (mut field, mut len, mut kind, mut stream_id) =
            (lane.field, lane.len, lane.kind, lane.stream_id);
        let mut is_extended = lane.is_extended;
        if format < 3 {
            let Some(bytes) = take::<3>(&mut rest) else {
                return Ok(false);
            };
            field = u24(bytes);
            is_extended = field == EXTENDED;
        }
        if format < 2 {
            let Some(bytes) = take::<4>(&mut rest) else {
                return Ok(false);
            };
            len = u24([bytes[0], bytes[1], bytes[2]]) as usize;
            kind = bytes[3];
        }
        if format == 0 {
            let Some(bytes) = take::<4>(&mut rest) else {
                return Ok(false);
            };
            stream_id = u32::from_le_bytes(bytes);
        }
        if is_extended {
            let Some(bytes) = rest.first_chunk::<4>() else {
                return Ok(false);
            };
            let extended = u32::from_be_bytes(*bytes);
            // Chunks without a header repeat it (§5.3.1.3), but some senders leave it out there.
            if format < 3 || extended == lane.field {
                rest.advance(4);
                field = extended;
            }
        }
        if len > MESSAGE_LEN_MAX {
            return Err(Fault("a message is too long"));
        }
        let used = buffer.len() - rest.len();
        let timestamp = match (is_first, format) {
            (false, _) => lane.timestamp,
            (true, 0) => field,
            (true, _) => lane.timestamp.wrapping_add(field),
        };
        let left = (len - lane.payload.len().min(len)).min(self.chunk_len);
        if self.held + left > HELD_MAX {
            return Err(Fault("it begins more messages than it ends"));
        }
        buffer.advance(used);
        let lane = self.streams.entry(id).or_default();
        lane.timestamp = timestamp;
        lane.field = field;
        lane.is_extended = is_extended;
        lane.len = len;
        lane.kind = kind;
        lane.stream_id = stream_id;
        self.inside = Some((id, left));
        Ok(true)
    }
}

/// Writes a message, in chunks of [`OUT_CHUNK_LEN`] once the peer was told of them. All ours are short.
pub(crate) fn write(out: &mut BytesMut, id: u8, kind: u8, stream_id: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or(0).min(EXTENDED);
    for (at, chunk) in payload.chunks(OUT_CHUNK_LEN).enumerate() {
        if at == 0 {
            out.put_u8(id & 0x3f);
            out.put_slice(&[0, 0, 0]); // no time
            out.put_slice(&len.to_be_bytes()[1..]);
            out.put_u8(kind);
            out.put_u32_le(stream_id);
        } else {
            out.put_u8(0xc0 | (id & 0x3f));
        }
        out.put_slice(chunk);
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn u24(bytes: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// The length of the chunks that we send.
pub(crate) const OUT_CHUNK_LEN: usize = 4096;
/// A timestamp that stands in a field of its own.
const EXTENDED: u32 = 0xff_ffff;
/// A message's length: more than any coded picture.
const MESSAGE_LEN_MAX: usize = 8 << 20;
/// Encoders use five.
const LANES_MAX: usize = 32;
/// Bytes of begun messages, over all chunk streams.
const HELD_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(reader: &mut Reader, bytes: &[u8], cut: usize) -> Vec<Message> {
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        for piece in bytes.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some(message) = reader.next(&mut buffer).unwrap() {
                messages.push(message);
            }
        }
        assert!(buffer.is_empty());
        messages
    }

    #[test]
    fn headers_shrink_and_times_add_up() {
        let mut bytes = Vec::new();
        // A whole header at 1000 ms, then one with a step of 40, then none at all: 40 again, in two chunks each.
        bytes.extend([4, 0, 3, 0xe8, 0, 0, 130, 9, 1, 0, 0, 0]);
        bytes.extend([7; 128]);
        bytes.push(0xc4);
        bytes.extend([7; 2]);
        bytes.extend([0x44, 0, 0, 40, 0, 0, 1, 9, 8]);
        bytes.extend([0xc4, 9]);
        for cut in [1, 3, 1000] {
            let messages = all(&mut Reader::default(), &bytes, cut);
            let seen: Vec<(u32, usize)> = messages
                .iter()
                .map(|message| (message.timestamp, message.payload.len()))
                .collect();
            assert_eq!(seen, [(1000, 130), (1040, 1), (1080, 1)]);
            assert!(
                messages
                    .iter()
                    .all(|message| (message.kind, message.stream_id) == (9, 1))
            );
        }
    }

    #[test]
    fn long_times_are_repeated_before_each_chunk_or_not() {
        let time = [1, 0, 0, 0];
        for repeats in [true, false] {
            let mut bytes = vec![4, 0xff, 0xff, 0xff, 0, 0, 140, 9, 1, 0, 0, 0];
            bytes.extend(time);
            bytes.extend([7; 128]);
            bytes.push(0xc4);
            if repeats {
                bytes.extend(time);
            }
            bytes.extend([7; 12]);
            let messages = all(&mut Reader::default(), &bytes, 5);
            assert_eq!(messages[0].timestamp, 0x0100_0000);
            assert!(messages[0].payload.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn what_would_take_memory_without_end_is_refused() {
        let fails = |bytes: &[u8]| Reader::default().next(&mut BytesMut::from(bytes)).is_err();
        assert!(fails(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]));
        assert!(fails(&[0xc4, 0]));
        let mut many = Vec::new();
        for id in 2..60 {
            many.extend([id, 0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0, 7]);
        }
        let mut reader = Reader::default();
        let mut buffer = BytesMut::from(&many[..]);
        let result = std::iter::repeat_with(|| reader.next(&mut buffer)).find(Result::is_err);
        assert!(result.is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            messages in proptest::collection::vec(
                (2u8..60, 1u8..23, any::<u32>(), proptest::collection::vec(any::<u8>(), 1..9000)), 0..5
            ),
            cut in 1usize..5000,
        ) {
            let mut out = BytesMut::new();
            for (id, kind, stream_id, payload) in &messages {
                write(&mut out, *id, *kind, *stream_id, payload);
            }
            let mut reader = Reader::default();
            reader.set_chunk_len(4096).unwrap();
            let read = all(&mut reader, &out, cut);
            prop_assert_eq!(read.len(), messages.len());
            for (read, (_, kind, stream_id, payload)) in read.iter().zip(&messages) {
                prop_assert_eq!((read.kind, read.stream_id), (*kind, *stream_id));
                prop_assert_eq!(&read.payload[..], &payload[..]);
            }
        }
    }
}
