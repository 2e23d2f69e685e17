//! `limits:` over the defaults. A limit that is not in [`Limits`] does not exist.

use std::num::NonZeroU32;

use super::raw::RawLimits;
use super::units::{Size, Span, SpanOrOff};
use crate::limits::Limits;

/// The defaults, changed by what the file says.
pub(super) fn limits(raw: Option<RawLimits>) -> Limits {
    let mut limits = Limits::default();
    let Some(raw) = raw else { return limits };
    macro_rules! set {
        ($($field:ident)+) => {$(
            if let Some(value) = raw.$field {
                limits.$field = value.into();
            }
        )+};
    }
    set!(head_bytes_max target_bytes_max head_in handshake_in first_request_in idle_in body_stall_in write_stall_in);
    set!(connect_in response_silence_in tunnel_idle_in pool_idle_in unbound_mints_per_second);
    macro_rules! set_count {
        ($($field:ident)+) => {$(
            if let Some(value) = raw.$field {
                limits.$field = count(value);
            }
        )+};
    }
    set_count!(head_fields_max sockets_max deployment_sockets_max);
    if let Some(value) = raw.pool_idle_sockets_max {
        limits.pool_idle_sockets_max = usize::try_from(value).unwrap_or(usize::MAX);
    }
    if let Some(value) = raw.leaf_cache_entries_max {
        limits.leaf_cache_entries_max = u64::from(value.get());
    }
    limits
}

fn count(value: NonZeroU32) -> usize {
    usize::try_from(value.get()).unwrap_or(usize::MAX)
}

impl From<Size> for usize {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<SpanOrOff> for Option<std::time::Duration> {
    fn from(span: SpanOrOff) -> Self {
        span.0
    }
}
