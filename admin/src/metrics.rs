//! `/metrics` in the OpenMetrics text format: the process's state, read anew at each scrape. No label comes from a request.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::wire::{ConnectionState, Status};

/// The content type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as text.
pub(crate) fn text(status: &Status) -> Result<String, std::fmt::Error> {
    let in_error = status.connections.iter().filter(|row| row.state == ConnectionState::Error).count();
    let mut registry = Registry::with_prefix("postern");
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("ready", "Whether the process serves", u64::from(status.ready));
    gauge(
        "config_reload_failed",
        "Whether the bindings file as it is now is not in force",
        u64::from(status.config.problem.is_some()),
    );
    gauge("bindings", "Bindings in force", status.config.bindings as u64);
    gauge("connections_in_error", "Connections whose credential cannot be had", in_error as u64);
    gauge("agent_sockets", "Sockets of agents that are open", status.sockets as u64);
    gauge(
        "idle_upstream_sockets",
        "Unused sockets to destinations that are kept warm",
        status.idle_upstream_sockets as u64,
    );
    gauge("access_records_lost", "Access records dropped because the disk could not keep up", status.records_lost);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
