//! A token endpoint that answers whatever a test wants, when it wants. It judges nothing that it is asked.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Message, Upstream, answer};
use tokio::sync::watch;

use crate::scene::LOGIN;

/// What every refresh token of an endpoint begins with.
pub(crate) const REFRESH: &str = "canary-refresh+5d41402abc4b2a76/b9719d911017c592==";

type Reply = Box<dyn Fn(usize, &Message) -> Vec<u8> + Send>;

/// A running token endpoint. Every access token that it makes up begins with the same text.
pub(crate) struct Endpoint {
    upstream: Upstream,
    access: String,
    reply: Arc<Mutex<Reply>>,
    /// The first request whose answer is kept.
    held_from: watch::Sender<usize>,
}

impl Endpoint {
    /// One that gives a new pair of tokens to each request, valid for an hour.
    pub(crate) async fn start(access: &str) -> Self {
        let reply: Arc<Mutex<Reply>> = Arc::new(Mutex::new(Box::new(|_, _| Vec::new())));
        let held_from = watch::Sender::new(usize::MAX);
        let (answering, gate) = (Arc::clone(&reply), held_from.subscribe());
        let asked = Arc::new(Mutex::new(0));
        let upstream = Upstream::of(&[LOGIN]).script(move |mut conversation| {
            let (answering, mut gate, asked) = (Arc::clone(&answering), gate.clone(), Arc::clone(&asked));
            async move {
                while let Some(request) = conversation.request().await {
                    let number = {
                        let mut asked = asked.lock().unwrap();
                        *asked += 1;
                        *asked
                    };
                    if gate.wait_for(|held_from| number < *held_from).await.is_err() {
                        return;
                    }
                    let bytes = answering.lock().unwrap()(number, &request);
                    conversation.send(bytes).await;
                }
            }
        });
        let endpoint = Self { upstream: upstream.start().await, access: access.to_owned(), reply, held_from };
        endpoint.gives_tokens_for(3600);
        endpoint
    }

    /// The origin under it.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// From here on it answers so; the first request of its life has the number 1.
    pub(crate) fn answers(&self, reply: impl Fn(usize, &Message) -> Vec<u8> + Send + 'static) {
        *self.reply.lock().unwrap() = Box::new(reply);
    }

    /// From here on it answers so, made of the text that every access token begins with and the request's number.
    pub(crate) fn answers_with(&self, reply: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) {
        let access = self.access.clone();
        self.answers(move |number, _| reply(&access, number));
    }

    /// From here on it gives each request a new pair of tokens, the access token valid for so many seconds.
    pub(crate) fn gives_tokens_for(&self, seconds: u32) {
        self.answers_with(move |access, number| ok(&pair(access, number, seconds)));
    }

    /// From here on it says that the grant is dead.
    pub(crate) fn refuses_the_grant(&self) {
        self.answers(|_, _| answer("400 Bad Request", JSON, &json!({"error": "invalid_grant"}).to_string()));
    }

    /// From here on it fails.
    pub(crate) fn fails(&self) {
        self.answers(|_, _| answer("500 Internal Server Error", "", "oops"));
    }

    /// Reads requests and keeps its answers, from the one with this number on.
    pub(crate) fn holds_from(&self, number: usize) {
        self.held_from.send_replace(number);
    }

    /// The first token that it gives lives so many seconds, all further ones an hour.
    pub(crate) fn gives_a_first_token_for(&self, seconds: u32) {
        self.answers_with(move |access, number| ok(&pair(access, number, if number == 1 { seconds } else { 3600 })));
    }

    /// Gives the answers that it kept, and answers at once from here on.
    pub(crate) fn releases(&self) {
        self.held_from.send_replace(usize::MAX);
    }

    /// The access token of the answer with this number.
    pub(crate) fn token(&self, number: usize) -> String {
        access(&self.access, number)
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.upstream.requests().len()
    }

    /// Waits until it has been asked so often.
    pub(crate) async fn wait_until_asked(&self, times: usize) {
        let asked = |connections: &[support::Recorded]| connections.iter().map(|c| c.requests.len()).sum::<usize>();
        self.upstream.wait_until(&format!("token request {times}"), |seen| asked(seen) >= times).await;
    }

    /// The refresh tokens that it was asked with.
    pub(crate) fn refresh_tokens(&self) -> Vec<String> {
        let requests = self.upstream.requests();
        requests.iter().filter_map(|request| parameter(request, "refresh_token")).collect()
    }
}

/// The field of an answer that is JSON.
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// `200` with this JSON.
pub(crate) fn ok(body: &Value) -> Vec<u8> {
    answer("200 OK", JSON, &body.to_string())
}

/// A new pair of tokens.
pub(crate) fn pair(access_prefix: &str, number: usize, seconds: u32) -> Value {
    json!({
        "access_token": access(access_prefix, number), "token_type": "Bearer", "expires_in": seconds,
        "refresh_token": refresh(number),
    })
}

/// The refresh token of the answer with this number.
pub(crate) fn refresh(number: impl Display) -> String {
    format!("{REFRESH}.{number}")
}

fn access(prefix: &str, number: usize) -> String {
    format!("{prefix}.{number}")
}

/// The value of a form's parameter, which stands at most once.
pub(crate) fn parameter(request: &Message, name: &str) -> Option<String> {
    let text = request.text();
    let mut values = text.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| unescaped(key) == name);
    let value = values.next().map(|(_, value)| unescaped(value));
    assert!(values.next().is_none(), "{name} stands more than once in {text}");
    value
}

/// The text that a form wrote so (`application/x-www-form-urlencoded`).
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
