//! A provider that answers from a script, for the tests of this folder. It opens no socket and needs no runtime.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use oauth2::url::form_urlencoded;
use secrecy::SecretString;

use super::{AnswerHints, BodyFormat, ClientAuth, OauthClient};
use crate::fetch::{Fetch, FetchError, Fetching};

/// What the script says to one request.
pub(super) type Line = Result<(u16, &'static str), FetchError>;

pub(super) struct Scripted {
    lines: Mutex<VecDeque<Line>>,
    requests: Mutex<Vec<http::Request<Vec<u8>>>>,
}

impl Scripted {
    pub(super) fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        Self { lines: Mutex::new(lines.into_iter().collect()), requests: Mutex::default() }
    }

    /// The forms that were sent, in order.
    pub(super) fn sent(&self) -> Vec<Vec<(String, String)>> {
        self.requests.lock().unwrap().iter().map(form).collect()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted(..)")
    }
}

impl Fetch for Scripted {
    fn fetch(&self, request: http::Request<Vec<u8>>) -> Fetching<'_> {
        self.requests.lock().unwrap().push(request);
        let line = self.lines.lock().unwrap().pop_front().expect("one request more than the script has lines");
        Box::pin(std::future::ready(line.map(|(status, body)| {
            let response = http::Response::builder().status(status).header("content-type", "application/json");
            response.body(body.as_bytes().to_vec()).unwrap()
        })))
    }
}

/// Runs what never waits.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a scripted provider answers at once"),
    }
}

pub(super) fn client() -> OauthClient {
    OauthClient {
        token_url: "https://login.acme.test/token".into(),
        client_id: "acme-id".into(),
        client_secret: Some(secret("acme-secret")),
        auth: ClientAuth::Basic,
        body: BodyFormat::Form,
        scope_separator: " ".into(),
        extra: Vec::new(),
        answers: AnswerHints::default(),
    }
}

pub(super) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

pub(super) fn form(request: &http::Request<Vec<u8>>) -> Vec<(String, String)> {
    form_urlencoded::parse(request.body()).into_owned().collect()
}
