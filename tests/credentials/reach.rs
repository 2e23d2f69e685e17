//! Where token endpoints may be: vetted and verified like every destination, because their URLs too are only text in a
//! file. Nothing is sent to one that does not pass.

use std::net::SocketAddr;

use support::{Chain, Postern, Settings, Upstream, answer};

use crate::scene::{ACCOUNT, HOST, LOGIN, URL, account, assert_unavailable, client_credentials, reload, standing};

/// The origin is at an address of its own, the only one that is allowed.
const ORIGIN: &str = "127.0.0.2:0";

async fn origin() -> Upstream {
    Upstream::of(&[HOST]).at(ORIGIN.parse::<SocketAddr>().unwrap()).start().await
}

fn only_the_origin(auth: &str, origin: &Upstream) -> Settings {
    account(auth).reached_with(&[ACCOUNT], origin).allow_addresses(&["127.0.0.2/32"])
}

/// Asserts that the account has no token because of the endpoint's address or certificate, and that nobody was asked.
async fn is_not_reached(postern: &Postern, origin: &Upstream, why: &str) {
    assert_unavailable(&postern.agent("bot").get(URL).await);
    let standing = standing(postern, ACCOUNT);
    assert!(standing["problem"].as_str().unwrap().contains(why), "{standing}");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn e07_a_token_endpoint_at_a_private_address_is_not_asked() {
    let origin = origin().await;
    let endpoint = Upstream::of(&[LOGIN]).start().await;
    let settings = only_the_origin(&client_credentials(), &origin);
    let postern = settings.connect_to(&format!("{LOGIN}:443"), endpoint.address()).start().await;
    is_not_reached(&postern, &origin, "not allowed").await;
    assert!(endpoint.connections().is_empty(), "the endpoint was dialled");
    postern.finish();
}

#[tokio::test]
async fn e07_a_token_endpoint_whose_url_is_a_private_address_is_not_asked() {
    for address in ["10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0.0.0.0", "localhost"] {
        let origin = origin().await;
        let auth = client_credentials().replace(LOGIN, address);
        let postern = only_the_origin(&auth, &origin).start().await;
        is_not_reached(&postern, &origin, "not allowed").await;
        postern.finish();
    }
}

#[tokio::test]
async fn e07_a_token_endpoint_that_is_postern_itself_is_not_asked_wherever_it_may_dial() {
    for own in [Postern::admin, Postern::proxy] {
        let origin = support::upstream(HOST).await;
        let postern = account(&client_credentials()).reached_with(&[ACCOUNT], &origin).start().await;
        let settings = postern.settings().connect_to(&format!("{LOGIN}:443"), own(&postern));
        reload(&postern, &settings.yaml()).await;
        is_not_reached(&postern, &origin, "not allowed").await;
        postern.finish();
    }
}

#[tokio::test]
async fn e07_a_token_endpoint_with_a_bad_certificate_is_sent_nothing() {
    for chain in [Chain::self_signed(&[LOGIN]), support::authority().chain(&["other.test"])] {
        let origin = support::upstream(HOST).await;
        let endpoint = Upstream::of(&[LOGIN]).chain(chain).answer(|_| answer("200 OK", "", "")).start().await;
        let settings = account(&client_credentials()).reached_with(&[ACCOUNT], &origin);
        let postern = settings.connect_to(&format!("{LOGIN}:443"), endpoint.address()).start().await;
        is_not_reached(&postern, &origin, "certificate").await;
        assert!(endpoint.bytes().is_empty(), "the endpoint was sent something");
        postern.finish();
    }
}
