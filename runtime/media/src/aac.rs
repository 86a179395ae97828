//! What the AudioSpecificConfig says (ISO/IEC 14496-3 §1.6.2.1), as far as a playlist and an ADTS header need it.

/// The head of an AudioSpecificConfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Audio object type: 2 is AAC-LC.
    pub object_type: u8,
    /// Index into the table of sample rates; 15 means the rate was written out.
    pub sample_rate_index: u8,
    /// Samples per second in Hz.
    pub sample_rate: u32,
    /// Channel configuration, 1 to 7 (7 means eight channels); 0 where a program config element says it.
    pub channel_configuration: u8,
}

/// Why an AudioSpecificConfig cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Fewer bits than its fields need.
    #[error("the AudioSpecificConfig ends early")]
    Short,
    /// A reserved sample rate index.
    #[error("the AudioSpecificConfig has the reserved sample rate index {0}")]
    SampleRate(u8),
}

impl AudioSpecificConfig {
    /// Reads the head of the configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut bits = Bits { bytes, at: 0 };
        let mut object_type = bits.take(5)?;
        if object_type == 31 {
            object_type = 32 + bits.take(6)?;
        }
        let sample_rate_index = bits.take(4)?;
        let sample_rate = if sample_rate_index == 15 {
            bits.take(24)?
        } else {
            *SAMPLE_RATES
                .get(sample_rate_index as usize)
                .ok_or(ConfigError::SampleRate(sample_rate_index as u8))?
        };
        let channel_configuration = bits.take(4)?;
        Ok(Self {
            object_type: object_type as u8,
            sample_rate_index: sample_rate_index as u8,
            sample_rate,
            channel_configuration: channel_configuration as u8,
        })
    }

    /// The seven-byte ADTS header (ISO/IEC 14496-3 §1.A.2.2) for one raw frame of `len` bytes, as MPEG-TS carries AAC.
    ///
    /// `None` if the frame with its header does not fit the 13-bit length, or the rate has no index.
    pub fn adts_header(&self, len: usize) -> Option<[u8; 7]> {
        let full = len + 7;
        if full >= 1 << 13 || self.sample_rate_index == 15 {
            return None;
        }
        let profile = self.object_type.clamp(1, 4) - 1;
        let channels = self.channel_configuration & 7;
        Some([
            0xff,
            0xf1, // MPEG-4, layer 0, no CRC
            (profile << 6) | (self.sample_rate_index << 2) | (channels >> 2),
            ((channels & 3) << 6) | (full >> 11) as u8,
            (full >> 3) as u8,
            (((full & 7) << 5) as u8) | 0x1f,
            0xfc,
        ])
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<u32, ConfigError> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(ConfigError::Short)?;
            value = (value << 1) | u32::from((byte >> (7 - self.at % 8)) & 1);
            self.at += 1;
        }
        Ok(value)
    }
}

const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stereo_lc_at_48_khz() {
        let config = AudioSpecificConfig::parse(&[0x11, 0x90]).unwrap();
        assert_eq!(
            config,
            AudioSpecificConfig {
                object_type: 2,
                sample_rate_index: 3,
                sample_rate: 48_000,
                channel_configuration: 2
            }
        );
        assert_eq!(
            config.adts_header(100),
            Some([0xff, 0xf1, 0x4c, 0x80, 0x0d, 0x7f, 0xfc])
        );
        assert_eq!(config.adts_header(1 << 13), None);
    }

    #[test]
    fn short_and_reserved_configurations_are_errors() {
        assert_eq!(AudioSpecificConfig::parse(&[]), Err(ConfigError::Short));
        assert_eq!(AudioSpecificConfig::parse(&[0x11]), Err(ConfigError::Short));
        assert_eq!(
            AudioSpecificConfig::parse(&[0x17, 0x00]),
            Err(ConfigError::SampleRate(14))
        );
    }
}
