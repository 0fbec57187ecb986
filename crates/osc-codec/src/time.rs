/// Seconds from 1900, where NTP counts from, to 1970 (RFC 5905).
const UNIX_EPOCH: i64 = 2_208_988_800;
const MICROS: i64 = 1_000_000;
/// NTP's 32 bit seconds wrap in 2036: values below this are counted from there (RFC 4330, section 3).
const ERA: i64 = 1 << 32;
const PIVOT: i64 = 1 << 31;

/// A moment as OSC writes it: seconds since 1900 in the upper 32 bits, fractions in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeTag(pub u64);

impl TimeTag {
    /// "Now", whenever the packet is read.
    pub const IMMEDIATE: Self = Self(1);

    /// Whether it means now: 1, or the 0 that some senders write.
    #[must_use]
    pub fn is_immediate(self) -> bool {
        self.0 <= Self::IMMEDIATE.0
    }

    /// The tag of a moment in microseconds since 1970, clamped to what tags can say: 1968-01-20 to
    /// 2104-02-26.
    #[must_use]
    pub fn from_unix_micros(micros: i64) -> Self {
        let earliest = (PIVOT - UNIX_EPOCH) * MICROS;
        let micros = micros.clamp(earliest, earliest + ERA * MICROS - 1);
        let seconds = (micros.div_euclid(MICROS) + UNIX_EPOCH).rem_euclid(ERA);
        // Rounded up, so that reading it rounds down to the same microsecond.
        let fraction = ((micros.rem_euclid(MICROS) << 32) + MICROS - 1) / MICROS;
        let tag = (seconds.unsigned_abs() << 32) | fraction.unsigned_abs();
        // The first instant of 2036's era would say "now"; a nanosecond later it does not.
        Self(if tag <= Self::IMMEDIATE.0 { 2 } else { tag })
    }

    /// Microseconds since 1970, rounded down; without meaning for [`TimeTag::IMMEDIATE`].
    #[must_use]
    #[allow(clippy::cast_possible_wrap, reason = "both halves have 32 bits")]
    pub fn unix_micros(self) -> i64 {
        let (seconds, fraction) = ((self.0 >> 32) as i64, self.0 & 0xffff_ffff);
        let seconds = if seconds < PIVOT { seconds + ERA } else { seconds };
        (seconds - UNIX_EPOCH) * MICROS + ((fraction * MICROS.unsigned_abs()) >> 32) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_count_from_1900_and_go_on_after_2036() {
        assert_eq!(TimeTag(UNIX_EPOCH.unsigned_abs() << 32).unix_micros(), 0);
        assert_eq!(TimeTag::from_unix_micros(500_000).0, 2_208_988_800 << 32 | 1 << 31);
        let wrap = (ERA - UNIX_EPOCH) * MICROS;
        assert_eq!(TimeTag::from_unix_micros(wrap - 1).0 >> 32, 0xffff_ffff);
        assert_eq!(TimeTag::from_unix_micros(wrap), TimeTag(2));
        assert_eq!(TimeTag(2).unix_micros(), wrap);
        assert!(!TimeTag::from_unix_micros(wrap).is_immediate());
    }

    #[test]
    fn moments_out_of_range_become_the_nearest() {
        for (micros, nearest) in [(i64::MIN, 1 << 63), (i64::MAX, (1 << 63) - 1)] {
            let tag = TimeTag::from_unix_micros(micros);
            assert!(tag.0.abs_diff(nearest) < 5_000, "{tag:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn microseconds_survive(micros in -60_000_000_000_000_i64..4_000_000_000_000_000) {
            proptest::prop_assert_eq!(TimeTag::from_unix_micros(micros).unix_micros(), micros);
        }
    }
}
