//! Keeps docs/errors.md equal to the code: every refusal has its row, every row its refusal. A new variant does not
//! compile until it stands here, and does not pass until it is documented.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postern_model as model;

use model::refusal::{Forbidden, Malformed, Unreachable};
use model::{Authority, ConnectionName, DeploymentName, Destination, Refusal, Scheme};

const PAPER: &str = include_str!("../../docs/errors.md");

/// One value for each pattern. The match inside is exhaustive, so a new variant must be added here.
macro_rules! one_of_each {
    ($type:ty: $($pattern:pat => $value:expr),+ $(,)?) => {{
        #[allow(dead_code, clippy::missing_const_for_fn)]
        fn every(value: &$type) {
            match value {
                $($pattern => {}),+
            }
        }
        vec![$($value),+]
    }};
}

/// What the table says, or should say, of one code.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    statuses: BTreeSet<String>,
    proxy_statuses: BTreeSet<String>,
    retries: BTreeSet<String>,
}

#[test]
fn the_table_of_codes_says_what_the_code_does() {
    let mut promised: BTreeMap<String, Row> = BTreeMap::new();
    for refusal in every_refusal() {
        let row = promised.entry(refusal.code().to_owned()).or_default();
        row.statuses.insert(refusal.status().to_string());
        row.proxy_statuses.insert(refusal.proxy_status().to_owned());
        row.retries.insert(retry_of(&refusal).to_owned());
    }
    let mut documented: BTreeMap<String, Row> = BTreeMap::new();
    for cells in table("| code |") {
        let [code, statuses, proxy_statuses, retries, ..] = cells.as_slice() else { panic!("a short row: {cells:?}") };
        let row = Row { statuses: listed(statuses), proxy_statuses: listed(proxy_statuses), retries: listed(retries) };
        let before = documented.insert(code.clone(), row);
        assert!(before.is_none(), "{code} has two rows");
    }
    assert_eq!(documented, promised);
}

#[test]
fn the_table_of_malformed_requests_says_what_the_code_says() {
    let promised: BTreeSet<(String, String)> = every_malformed()
        .into_iter()
        .map(Refusal::RequestMalformed)
        .map(|refusal| (refusal.status().to_string(), refusal.message()))
        .collect();
    let documented: BTreeSet<(String, String)> =
        table("| status | message |").into_iter().map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    assert_eq!(documented, promised);
}

#[test]
fn the_table_of_codes_is_in_the_order_of_its_statuses() {
    let statuses: Vec<u16> = table("| code |").iter().map(|cells| cells[1][..3].parse().unwrap()).collect();
    assert!(statuses.is_sorted(), "{statuses:?}");
}

fn every_refusal() -> Vec<Refusal> {
    let connection = ConnectionName::parse("acme").unwrap();
    let deployment = DeploymentName::parse("bot").unwrap();
    let destination = Destination { scheme: Scheme::Https, authority: Authority::parse("api.acme.test:443").unwrap() };
    let retry_in = Duration::from_secs(1);
    let mut refusals = one_of_each! { Refusal:
        Refusal::CallerUnknown => Refusal::CallerUnknown,
        Refusal::BindingMissing { .. } => Refusal::BindingMissing { deployment, destination, named: None },
        Refusal::RequestForbidden { .. } =>
            Refusal::RequestForbidden { connection: connection.clone(), reason: Forbidden::Method },
        Refusal::ConnectionInactive { .. } => Refusal::ConnectionInactive { connection: connection.clone() },
        Refusal::NotConnected { .. } => Refusal::NotConnected { connection: connection.clone() },
        Refusal::NeedsReauth { .. } => Refusal::NeedsReauth { connection: connection.clone() },
        Refusal::DestinationForbidden => Refusal::DestinationForbidden,
        Refusal::PlaintextForbidden { .. } => Refusal::PlaintextForbidden { connection: connection.clone() },
        Refusal::ConnectionAmbiguous { .. } =>
            Refusal::ConnectionAmbiguous { connections: vec![connection.clone()] },
        Refusal::RequestMalformed(_) => Refusal::RequestMalformed(Malformed::Head),
        Refusal::MethodRefused => Refusal::MethodRefused,
        Refusal::UpgradeRefused => Refusal::UpgradeRefused,
        Refusal::DestinationMismatch => Refusal::DestinationMismatch,
        Refusal::RateLimited { .. } => Refusal::RateLimited { retry_in },
        Refusal::CredentialUnavailable { .. } => Refusal::CredentialUnavailable { connection, retry_in },
        Refusal::Overloaded { .. } => Refusal::Overloaded { retry_in },
        Refusal::UpstreamUnreachable(_) => Refusal::UpstreamUnreachable(Unreachable::Dns),
        Refusal::UpstreamTls => Refusal::UpstreamTls,
        Refusal::UpstreamInvalid => Refusal::UpstreamInvalid,
        Refusal::UpstreamTimeout => Refusal::UpstreamTimeout,
        Refusal::LoopDetected => Refusal::LoopDetected,
        Refusal::Internal => Refusal::Internal,
    };
    refusals.extend(every_malformed().into_iter().map(Refusal::RequestMalformed));
    refusals.extend(every_unreachable().into_iter().map(Refusal::UpstreamUnreachable));
    refusals
}

fn every_malformed() -> Vec<Malformed> {
    one_of_each! { Malformed:
        Malformed::Head => Malformed::Head,
        Malformed::Framing => Malformed::Framing,
        Malformed::TransferCoding => Malformed::TransferCoding,
        Malformed::Authority => Malformed::Authority,
        Malformed::LengthRequired => Malformed::LengthRequired,
        Malformed::TargetTooLong => Malformed::TargetTooLong,
        Malformed::Expectation => Malformed::Expectation,
        Malformed::HeadTooLarge => Malformed::HeadTooLarge,
    }
}

fn every_unreachable() -> Vec<Unreachable> {
    one_of_each! { Unreachable:
        Unreachable::Dns => Unreachable::Dns,
        Unreachable::Refused => Unreachable::Refused,
        Unreachable::Timeout => Unreachable::Timeout,
        Unreachable::Closed => Unreachable::Closed,
    }
}

/// The word of the table's column "retry".
fn retry_of(refusal: &Refusal) -> &'static str {
    match (refusal.retry_is_useless(), refusal.retry_in()) {
        (true, None) => "no",
        (false, Some(_)) => "wait",
        (false, None) => "yes",
        (true, Some(_)) => panic!("{} says both to wait and not to retry", refusal.code()),
    }
}

/// The cells of the table whose head begins with this text, without code marks.
fn table(head: &str) -> Vec<Vec<String>> {
    let mut lines = PAPER.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "docs/errors.md has no table \"{head}\"");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cell = |text: &str| text.trim().replace('`', "");
    rows.map(|line| line.trim_matches('|').split('|').map(cell).collect()).collect()
}

fn listed(cell: &str) -> BTreeSet<String> {
    cell.split(", ").map(str::to_owned).collect()
}
