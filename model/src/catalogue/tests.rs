//! The catalogue's shape: every entry can be used as it stands.

use std::collections::BTreeSet;

use super::*;
use crate::config::{RESERVED_AUTHORIZE_PARAMS, RESERVED_TOKEN_PARAMS};
use crate::path::is_ambiguous;

/// How many there are at least; a provider is added, not lost.
const PROVIDERS_MIN: usize = 71;

/// Each provider with an example in every gap.
fn completed() -> impl Iterator<Item = (&'static Provider, Integration)> {
    all().iter().map(|provider| {
        let context = provider.context.iter().map(|(name, variable)| (name.clone(), variable.example.clone()));
        let integration = provider.integration(&context.collect());
        (provider, integration.unwrap_or_else(|error| panic!("{error}")))
    })
}

fn endpoints(integration: &Integration) -> Vec<&String> {
    let urls = [&integration.authorization_url, &integration.token_url, &integration.device_authorization_url];
    let revocation = integration.revocation.as_ref().map(|revocation| &revocation.url);
    let account = integration.account.as_ref().map(|account| &account.url);
    urls.into_iter().flatten().chain(revocation).chain(account).collect()
}

#[test]
fn the_text_is_read_without_a_word() {
    let entries = entries(TEXT, "catalogue.yaml").unwrap_or_else(|found| panic!("{found}"));
    assert!(entries.len() >= PROVIDERS_MIN, "{}", entries.len());
    assert_eq!(entries.len(), all().len());
}

#[test]
fn every_name_is_unique_and_found() {
    let names: BTreeSet<_> = all().iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(names.len(), all().len());
    assert!(names.iter().all(|name| find(name).is_some_and(|provider| provider.id.as_str() == *name)));
    assert!(find("nonesuch").is_none());
}

#[test]
fn every_provider_has_hosts_and_what_its_kind_needs() {
    for (provider, integration) in completed() {
        assert!(!provider.title.is_empty() && !integration.hosts.is_empty(), "{provider:?}");
        let [authorization, token] = [&integration.authorization_url, &integration.token_url].map(Option::is_some);
        match provider.kind {
            Kind::Oauth => assert!(authorization && token, "{provider:?}"),
            Kind::GoogleServiceAccount => assert!(token && !authorization, "{provider:?}"),
            Kind::ApiKey | Kind::GithubApp | Kind::AwsSigv4 => assert!(!token && !authorization, "{provider:?}"),
        }
        if matches!(provider.kind, Kind::ApiKey) {
            assert!(!integration.token_variables.is_empty(), "{provider:?}");
        }
        assert!(integration.hosts.iter().all(|host| !host.covers_top_level_domain()), "{provider:?}");
    }
}

#[test]
fn every_endpoint_is_plain_https_without_a_gap() {
    for (provider, integration) in completed() {
        for url in endpoints(&integration) {
            let rest = url.strip_prefix("https://").unwrap_or_else(|| panic!("{provider:?}: {url}"));
            let path = rest.find('/').map_or("/", |at| &rest[at..]);
            assert!(!url.contains(['{', '}', '#', ' ']) && !is_ambiguous(path), "{provider:?}: {url}");
        }
        let hosts = integration.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert!(!hosts.contains(['{', '}']), "{hosts}");
    }
}

#[test]
fn every_token_endpoint_on_an_api_host_is_guarded() {
    use crate::authority::{Authority, Destination, Scheme};
    use crate::guard::{Guarded, refusal};

    let mut on_api_hosts = 0;
    for (provider, integration) in completed() {
        let revocation = integration.revocation.as_ref().map(|revocation| &revocation.url);
        for url in integration.token_url.iter().chain(revocation) {
            let rest = url.strip_prefix("https://").unwrap();
            let (host, path) = rest.split_at(rest.find('/').unwrap());
            let authority = Authority::parse_with_default(host, 443).unwrap();
            let destination = Destination { scheme: Scheme::Https, authority };
            if !integration.hosts.iter().any(|host| host.matches(&destination)) {
                continue;
            }
            on_api_hosts += 1;
            let guarded = [vec![Guarded::of_endpoint(url).unwrap()], integration.guarded.clone()].concat();
            assert!(refusal(&guarded, &destination, path).is_some(), "{provider:?}: {url}");
            // What tells who the account is stays open, where it is no token endpoint itself.
            assert!(refusal(&guarded, &destination, "/unrelated").is_none(), "{provider:?}");
        }
    }
    assert!(on_api_hosts > 20, "{on_api_hosts}");
}

#[test]
fn no_parameter_is_one_that_postern_sets() {
    for (provider, integration) in completed() {
        assert!(!integration.authorize_params.keys().any(|name| RESERVED_AUTHORIZE_PARAMS.contains(&name.as_str())));
        assert!(!integration.token_params.keys().any(|name| RESERVED_TOKEN_PARAMS.contains(&name.as_str())));
        for header in &integration.headers {
            assert!(header.template.placeholders().all(|name| name == "client_id"), "{provider:?}");
        }
    }
}

#[test]
fn placeholders_and_variables_fit_into_an_environment() {
    for (provider, integration) in completed() {
        assert!(integration.placeholder.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_graphic())));
        for name in &integration.token_variables {
            let sound = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            assert!(sound, "{provider:?}: {name}");
        }
        assert!(integration.placeholder.is_none() || !integration.token_variables.is_empty(), "{provider:?}");
    }
}

#[test]
fn a_missing_or_wrong_context_is_named() {
    let zendesk = find("zendesk").unwrap();
    let with = |name: &str, value: &str| zendesk.integration(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
    let integration = with("subdomain", "acme").unwrap();
    assert_eq!(integration.token_url.as_deref(), Some("https://acme.zendesk.com/oauth/tokens"));
    assert_eq!(integration.hosts[0].to_string(), "acme.zendesk.com");
    assert!(zendesk.integration(&BTreeMap::new()).unwrap_err().to_string().contains("\"subdomain\" is missing"));
    assert_eq!(with("region", "eu").unwrap_err().variable, "region");
    for hostile in ["", "a.b", "evil.test/", "evil.test#", "a b", "-a", "a@b", "{subdomain}", "a:1", "a%2e"] {
        assert!(with("subdomain", hostile).is_err(), "{hostile}");
    }
}

#[test]
fn a_default_stands_in_and_an_optional_part_is_left_out() {
    let none = BTreeMap::new();
    let gitlab = find("gitlab").unwrap().integration(&none).unwrap();
    assert_eq!(gitlab.token_url.as_deref(), Some("https://gitlab.com/oauth/token"));
    let pipedrive = find("pipedrive").unwrap().integration(&none).unwrap();
    assert_eq!(pipedrive.hosts.len(), 1);
    assert!(find("xero").unwrap().integration(&none).unwrap().headers.is_empty());
}

#[test]
fn a_host_of_the_context_lies_below_the_providers_domain() {
    let below = |host: &str| {
        let context = BTreeMap::from([("instance_host".to_owned(), host.to_owned())]);
        find("salesforce").unwrap().integration(&context)
    };
    assert!(below("acme.my.salesforce.com").is_ok());
    for hostile in ["evil.test", "salesforce.com", "evilsalesforce.com", "acme.salesforce.com.evil.test"] {
        assert!(below(hostile).is_err(), "{hostile}");
    }
}
