//! Messages spoilt at random, by seed. Requests: whatever postern makes of them, what it forwards is one plain request after the
//! other, each with our credential and for the bound host. Answers: the next request gets its own. It does not ask what
//! is refused; the other files do.

use std::env;
use std::io::ErrorKind;
use std::time::Duration;

use support::{Conversation, Upstream, answer};

use crate::garden::accepted;
use crate::scene::{HOST, postern, scene_of, shown};

/// Spoilt requests for one run. `ATTACK_SEEDS=FROM..TO` in the environment runs others.
const SEEDS: std::ops::Range<u64> = 0..800;

/// How long to look at an answer that may have no end.
const UNANSWERED_IN: Duration = Duration::from_millis(20);

/// Bytes on which parsers disagree.
const ODD: &[u8] = b"\r\n\0 \t:;,\x0b\x0c\x80\xff\x7f\"0fFxX-+";

/// Pieces that make a message ambiguous.
const PIECES: [&str; 14] = [
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Host: evil.test\r\n",
    "Connection: close\r\n",
    "Connection: Authorization, Host, Content-Length, Transfer-Encoding\r\n",
    "Expect: 100-continue\r\n",
    "Proxy-Authorization: Basic eDp5\r\n",
    "Authorization: Bearer evil\r\n",
    "\r\n",
    "0\r\n\r\n",
    " HTTP/1.1\r\n",
];

/// A small generator of numbers (xorshift64*): the same seed spoils in the same way everywhere.
struct Dice(u64);

impl Dice {
    fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).unwrap_or(0) % bound.max(1)
    }
}

fn spoilt(seed: u64, bases: &[String]) -> Vec<u8> {
    let mut dice = Dice::seeded(seed);
    for _ in 0..4 {
        dice.below(2);
    }
    let mut bytes = bases[dice.below(bases.len())].clone().into_bytes();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let end = (at + 1 + dice.below(20)).min(bytes.len());
        match dice.below(6) {
            0 => bytes[at] = ODD[dice.below(ODD.len())],
            1 => bytes.insert(at, ODD[dice.below(ODD.len())]),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                // At the beginning of a line, where it does most harm.
                let line = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(at, |found| at + found + 1);
                drop(bytes.splice(line..line, PIECES[dice.below(PIECES.len())].bytes()));
            }
        }
    }
    bytes
}

/// Answers of a destination, each as it stands on the wire.
fn answers() -> Vec<String> {
    let inner = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ]
    .iter()
    .flat_map(|text| [(*text).to_owned(), format!("{text}{inner}"), format!("{text}\r\n{inner}")])
    .collect()
}

/// Answers `/fine…` with the target, and anything else with what its seed spoils.
async fn spoil(mut conversation: Conversation) {
    let bases = answers();
    while let Some(request) = conversation.request().await {
        let target = request.target();
        match target.strip_prefix("/spoilt/") {
            Some(seed) => conversation.send(spoilt(seed.parse().expect("a seed"), &bases)).await,
            None => conversation.send(answer("200 OK", "", target)).await,
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = env::var("ATTACK_SEEDS") else { return SEEDS };
    let (from, to) = text.split_once("..").expect("ATTACK_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[tokio::test]
async fn a99_whatever_is_sent_only_plain_requests_with_our_credential_are_forwarded() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern()
        .connection("notion", &[HOST])
        .binding("{deployment: bot, connection: notion, allow_plaintext: true}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let ours = format!("Bearer {}", scene.postern.token("notion"));
    let bases: Vec<String> =
        accepted().iter().map(|text| text.replace("https://", "http://").replace(":443", "")).collect();
    let (mut connections, mut requests) = (0, 0);
    for seed in seeds() {
        let bytes = spoilt(seed, &bases);
        let mut wire = scene.agent.tunnel("api.notion.test:80").await;
        wire.send(&bytes).await;
        wire.finish().await;
        wire.rest().await;
        let case = format!("seed {seed}: {}", shown(&bytes));
        for request in &scene.upstream.requests()[requests..] {
            requests += 1;
            assert_eq!(request.values("host").collect::<Vec<_>>(), [HOST], "{case}\n{request}");
            assert_eq!(request.values("authorization").collect::<Vec<_>>(), [&ours], "{case}\n{request}");
            assert_ne!(request.target(), "/hidden", "{case}\n{request}");
            let foreign = request.fields.iter().find(|(name, _)| {
                let name = name.to_ascii_lowercase();
                name.starts_with("proxy-")
                    || ["connection", "keep-alive", "te", "upgrade", "expect"].contains(&name.as_str())
            });
            assert_eq!(foreign, None, "{case}\n{request}");
        }
        for connection in &scene.upstream.connections()[connections..] {
            assert_eq!(connection.invalid, None, "{case}\n{}", shown(&connection.bytes));
        }
        // The last one may still be in use.
        connections = scene.upstream.connections().len().saturating_sub(1);
    }
    assert!(requests > 50, "only {requests} requests were forwarded: this proves little");
}

#[tokio::test]
async fn f08_whatever_a_destination_answers_the_next_request_gets_its_own_answer() {
    let origin = Upstream::of(&[HOST]).plain().script(spoil).start().await;
    let settings = postern()
        .connection("notion", &[HOST])
        .binding("{deployment: bot, connection: notion, allow_plaintext: true}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    for seed in seeds() {
        let mut wire = scene.agent.socket().await;
        let login = scene.agent.login();
        wire.send(format!("GET http://{HOST}/spoilt/{seed} HTTP/1.1\r\nHost: {HOST}\r\n{login}\r\n")).await;
        let case = || format!("seed {seed}: {}", shown(&spoilt(seed, &answers())));
        // What comes of it is not the question here, and some of it never ends. But it is never ambiguous.
        if let Ok(Err(error)) = tokio::time::timeout(UNANSWERED_IN, wire.try_reply_to("GET")).await {
            assert_ne!(error.kind(), ErrorKind::InvalidData, "{}: {error}", case());
        }
        drop(wire);
        let reply = scene.agent.get(&format!("http://{HOST}/fine/{seed}")).await;
        assert_eq!((reply.status(), reply.text()), (200, format!("/fine/{seed}")), "{}\n{reply}", case());
    }
}
