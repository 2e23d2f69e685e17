//! The span of time in which a certificate is valid, in the whole seconds that X.509 can express.
//! It refuses to read a clock: every instant comes from the caller.

use std::time::SystemTime;

use time::{Duration, OffsetDateTime};

use crate::Error;

/// How far a certificate's beginning is dated back, for agents whose clock is behind ours.
const BACKDATED_IN: Duration = Duration::hours(24);

/// First and last second of a certificate's life, both included (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    /// From a day before `now` until `life_in` after it.
    ///
    /// # Errors
    /// [`Error::ClockOutOfRange`] if either end cannot be expressed.
    pub(crate) fn starting(now: OffsetDateTime, life_in: Duration) -> Result<Self, Error> {
        Ok(Self {
            not_before: now.checked_sub(BACKDATED_IN).ok_or(Error::ClockOutOfRange)?,
            not_after: now.checked_add(life_in).ok_or(Error::ClockOutOfRange)?,
        })
    }

    /// The part of this span that lies within `outer`.
    pub(crate) fn within(self, outer: Validity) -> Self {
        Self { not_before: self.not_before.max(outer.not_before), not_after: self.not_after.min(outer.not_after) }
    }
}

/// `at` in UTC, cut to the whole second.
///
/// # Errors
/// [`Error::ClockOutOfRange`] before 1970 and after 9999.
pub(crate) fn utc(at: SystemTime) -> Result<OffsetDateTime, Error> {
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::ClockOutOfRange)?;
    let seconds = i64::try_from(since_epoch.as_secs()).map_err(|_| Error::ClockOutOfRange)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::ClockOutOfRange)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_or_after_9999_is_an_error_and_not_a_panic() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let after = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert!(matches!(utc(before), Err(Error::ClockOutOfRange)));
        assert!(matches!(utc(after), Err(Error::ClockOutOfRange)));
    }

    #[test]
    fn fractions_of_a_second_are_cut_off() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_999);
        assert_eq!(utc(at).unwrap().unix_timestamp_nanos(), 1_000_000_000);
    }
}
