//! How long a token lives, read from whatever a provider wrote: a number, a string, a date, nonsense. It keeps every
//! answer within bounds and never lets a token that is already over start a loop of refreshes.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The longest life that is believed, in seconds: ten years.
pub(super) const LIFE_SECS_MAX: i64 = 10 * 365 * 24 * 60 * 60;
/// A token that is over as it arrives is used this long, and not refreshed sooner, in seconds.
pub(super) const OVER_GUARD_SECS: i64 = 30;
/// From here on a number of an instant counts milliseconds (as seconds it would lie beyond the year 5000).
const MILLISECONDS_FROM: f64 = 1e11;

/// What an answer says about a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Nothing that can be understood.
    Unknown,
    /// It ends at this instant, in Unix seconds, at most [`LIFE_SECS_MAX`] from now.
    Until(i64),
    /// It is over already, or so the provider says.
    Over {
        /// The provider wrote a plain zero, by which a few mean "never".
        zero: bool,
    },
}

/// Reads the first of these fields that can be understood: spans of seconds first, since they do not depend on the two
/// clocks agreeing, then instants.
pub(super) fn life(fields: &Map<String, Value>, spans: &[&str], instants: &[&str], now: i64) -> Life {
    if let Some(span) = spans.iter().find_map(|name| seconds(fields.get(*name)?)) {
        return if span >= 1.0 { Life::Until(within(now, span)) } else { Life::Over { zero: span == 0.0 } };
    }
    match instants.iter().find_map(|name| instant(fields.get(*name)?)) {
        Some(at) if at > now => Life::Until(at.min(now.saturating_add(LIFE_SECS_MAX))),
        Some(_) => Life::Over { zero: false },
        None => Life::Unknown,
    }
}

/// An instant in Unix seconds: RFC 3339, or a number of seconds or milliseconds, as a number or a string.
pub(super) fn instant(value: &Value) -> Option<i64> {
    if let Some(at) = value.as_str().and_then(|text| text.trim().parse::<Timestamp>().ok()) {
        return Some(at.as_second());
    }
    let number = seconds(value)?;
    // A cast of a float saturates.
    Some(if number >= MILLISECONDS_FROM { (number / 1000.0) as i64 } else { number as i64 })
}

/// A span of seconds as a number or a string; finite.
pub(super) fn seconds(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

fn within(now: i64, span: f64) -> i64 {
    now.saturating_add(span.min(LIFE_SECS_MAX as f64) as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read(answer: Value) -> Life {
        life(answer.as_object().unwrap(), &["expires_in"], &["expires_at"], NOW)
    }

    #[test]
    fn a_span_is_read_in_every_spelling() {
        for span in [json!(3600), json!("3600"), json!(" 3600 "), json!(3600.5), json!(3600.0), json!("3.6e3")] {
            assert_eq!(read(json!({ "expires_in": span })), Life::Until(NOW + 3600), "{span}");
        }
    }

    #[test]
    fn a_span_beyond_belief_is_clamped() {
        for span in [json!(1e30), json!("1e30"), json!(u64::MAX)] {
            assert_eq!(read(json!({ "expires_in": span })), Life::Until(NOW + LIFE_SECS_MAX), "{span}");
        }
    }

    #[test]
    fn what_is_over_is_told_from_what_is_unknown() {
        assert_eq!(read(json!({"expires_in": 0})), Life::Over { zero: true });
        assert_eq!(read(json!({"expires_in": "-1"})), Life::Over { zero: false });
        assert_eq!(read(json!({"expires_in": 0.5})), Life::Over { zero: false });
        for nothing in [json!(null), json!("soon"), json!("inf"), json!("NaN"), json!([3600]), json!(true)] {
            assert_eq!(read(json!({ "expires_in": nothing })), Life::Unknown, "{nothing}");
        }
    }

    #[test]
    fn an_instant_is_read_in_every_spelling() {
        let at = NOW + 60;
        let date = Timestamp::from_second(at).unwrap().to_string();
        for instant in [json!(date), json!(at), json!(at.to_string()), json!(at * 1000), json!(at as f64)] {
            assert_eq!(read(json!({ "expires_at": instant })), Life::Until(at), "{instant}");
        }
        assert_eq!(read(json!({"expires_at": 1})), Life::Over { zero: false });
        assert_eq!(read(json!({"expires_at": "9999-01-01T00:00:00Z"})), Life::Until(NOW + LIFE_SECS_MAX));
    }

    #[test]
    fn a_span_wins_over_an_instant() {
        assert_eq!(read(json!({"expires_in": 60, "expires_at": 1})), Life::Until(NOW + 60));
        assert_eq!(read(json!({"expires_in": null, "expires_at": NOW + 5})), Life::Until(NOW + 5));
    }
}
