//! Times and sizes as operators write them: `10s`, `500ms`, `64KiB`. Times beyond a year and sizes beyond a gibibyte are
//! taken for mistakes.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Node, Value};
use super::read::{Read, mismatch};
use super::report::Report;

/// The longest time.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// The greatest size, in bytes.
const SIZE_BYTES_MAX: usize = 1 << 30;

const SPAN_EXPECTED: &str = "a time from 1ms to a year, such as 500ms, 10s, 5m or 1h";
const SIZE_EXPECTED: &str = "a size from 1 byte to 1GiB, such as 65536 or 64KiB";

/// A time greater than nothing.
pub(super) struct Span(pub(super) Duration);

/// A time greater than nothing, or `off`.
pub(super) struct SpanOrOff(pub(super) Option<Duration>);

/// A size greater than nothing, in bytes.
pub(super) struct Size(pub(super) usize);

impl Read for Span {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let span = node.value.as_text().and_then(parse_span);
        if span.is_none() {
            complain(node, SPAN_EXPECTED, report);
        }
        span.map(Self)
    }
}

impl Read for SpanOrOff {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let text = node.value.as_text();
        if text == Some("off") {
            return Some(Self(None));
        }
        let span = text.and_then(parse_span);
        if span.is_none() {
            complain(node, &format!("{SPAN_EXPECTED}, or off"), report);
        }
        span.map(|span| Self(Some(span)))
    }
}

impl Read for Size {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let size = node.value.as_text().and_then(parse_size);
        if size.is_none() {
            complain(node, SIZE_EXPECTED, report);
        }
        size.map(Self)
    }
}

fn complain(node: &Node, expected: &str, report: &mut Report<'_>) {
    if matches!(node.value, Value::List(_) | Value::Map(_)) {
        return mismatch(node, expected, None, report);
    }
    report.error(node.place, format!("expected {expected}"), None);
}

fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let span = Duration::from_millis(number.checked_mul(milliseconds)?);
    (!span.is_zero() && span <= SPAN_MAX).then_some(span)
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let size = usize::try_from(number.checked_mul(bytes)?).ok()?;
    (1..=SIZE_BYTES_MAX).contains(&size).then_some(size)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

impl JsonSchema for SpanOrOff {
    fn schema_name() -> Cow<'static, str> {
        "SpanOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h)|off)$" })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": SIZE_BYTES_MAX },
            { "type": "string", "pattern": "^[0-9]+([KMG]iB)?$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(parse_span(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "0s", "s", "-1s", "1.5s", "10 s", "1d", "9000h", "99999999999999999999s"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_they_say_otherwise() {
        for (text, bytes) in [("1", 1), ("65536", 65_536), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "0", "KiB", "64KB", "64k", "2GiB", "1.5MiB", "-1"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
