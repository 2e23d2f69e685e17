//! Authorising an account through a browser: the one-time link, the way to the provider and back, and everything that
//! somebody else might try with either. curl stands for the browser, with a cookie jar of its own.

use std::process::{Output, Stdio};

use support::{assert_passed, assert_refused};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::endpoint::{ok, pair, parameter, unescaped};
use crate::scene::{ACCOUNT, LOGIN, PROGRAM, Scene, URL, scene_where, standing};

/// `auth:` of an account that somebody authorises in a browser.
fn by_browser() -> String {
    format!(
        "type: authorization_code, client_id: app, client_secret: {{env: CLIENT_SECRET}}, scopes: [read], \
         authorization_url: \"https://{LOGIN}/authorize\", token_url: \"https://{LOGIN}/token\""
    )
}

async fn unconnected() -> Scene {
    scene_where(&by_browser(), |endpoint| endpoint.answers_with(|access, number| ok(&pair(access, number, 3600)))).await
}

/// `postern connect`, waiting for somebody.
struct Waiting {
    child: Child,
    _answer: Lines<BufReader<ChildStdout>>,
    link: String,
}

async fn connect(scene: &Scene) -> Waiting {
    let (config, data) = (scene.postern.config_path(), scene.postern.data());
    let mut command = Command::new(PROGRAM);
    command.arg("connect").arg(ACCOUNT).arg("--config").arg(config).arg("--data").arg(data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut answer = BufReader::new(child.stdout.take().unwrap()).lines();
    let link = answer.next_line().await.unwrap().expect("a link");
    Waiting { child, _answer: answer, link }
}

impl Waiting {
    async fn ended(self) -> Output {
        self.child.wait_with_output().await.unwrap()
    }

    /// The link behind the link: off to the provider.
    fn start(&self) -> String {
        self.link.replace("?ticket=", "/start?ticket=")
    }
}

/// A browser.
struct Browser(tempfile::TempDir);

impl Browser {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn get(&self, url: &str) -> String {
        let jar = self.0.path().join("cookies");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--include", "--max-time", "20", "--cookie"])
            .arg(&jar)
            .arg("--cookie-jar")
            .arg(&jar)
            .arg(url);
        String::from_utf8(curl.output().await.unwrap().stdout).unwrap()
    }
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

/// The provider's URL that the browser is sent to.
fn departure(reply: &str) -> String {
    assert_eq!(status(reply), "303", "{reply}");
    let location = reply.lines().find_map(|line| line.strip_prefix("location: "));
    location.unwrap_or_else(|| panic!("no location in {reply}")).trim().to_owned()
}

fn asked(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let pair = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    unescaped(pair.unwrap_or_else(|| panic!("{name} is not in {url}")).1)
}

/// Where the provider sends the browser back to.
fn way_back(departure: &str, answer: &str) -> String {
    format!("{}?{answer}&state={}", asked(departure, "redirect_uri"), asked(departure, "state"))
}

#[tokio::test]
async fn an_account_is_authorised_in_a_browser_and_traffic_begins() {
    let scene = unconnected().await;
    assert_refused(&scene.agent.get(URL).await, 403, "not_connected");
    assert_eq!(standing(&scene.postern, ACCOUNT)["state"], "available");

    let (waiting, browser) = (connect(&scene).await, Browser::new());
    assert!(browser.get(&waiting.link).await.contains("Go to the provider"));
    let departure = departure(&browser.get(&waiting.start()).await);
    assert!(departure.starts_with(&format!("https://{LOGIN}/authorize?")), "{departure}");
    for (name, value) in
        [("client_id", "app"), ("response_type", "code"), ("code_challenge_method", "S256"), ("scope", "read")]
    {
        assert_eq!(asked(&departure, name), value);
    }
    let page = browser.get(&way_back(&departure, "code=the-code")).await;
    assert_eq!(status(&page), "200", "{page}");

    let request = scene.endpoint.upstream().last_request();
    assert_eq!(parameter(&request, "grant_type").as_deref(), Some("authorization_code"));
    assert_eq!(parameter(&request, "code").as_deref(), Some("the-code"));
    assert!(parameter(&request, "code_verifier").is_some_and(|verifier| verifier.len() >= 43));
    let ended = waiting.ended().await;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(1));
    assert_eq!(standing(&scene.postern, ACCOUNT)["state"], "connected");
    scene.postern.finish();
}

#[tokio::test]
async fn a_link_and_an_answer_each_count_once() {
    let scene = unconnected().await;
    let (waiting, browser) = (connect(&scene).await, Browser::new());
    let departure = departure(&browser.get(&waiting.start()).await);
    assert_eq!(status(&browser.get(&waiting.start()).await), "400");
    assert_eq!(status(&Browser::new().get(&waiting.start()).await), "400");
    let back = way_back(&departure, "code=c");
    assert_eq!(status(&browser.get(&back).await), "200");
    assert_eq!(status(&browser.get(&back).await), "400");
    assert_eq!(scene.endpoint.asked(), 1);
    scene.postern.finish();
}

/// Login CSRF (RFC 9700 §4.7): somebody else's code, delivered to this operator's browser, or the other way round.
#[tokio::test]
async fn an_answer_in_another_browser_counts_for_nothing() {
    let scene = unconnected().await;
    let (waiting, browser) = (connect(&scene).await, Browser::new());
    let departure = departure(&browser.get(&waiting.start()).await);
    assert_eq!(status(&Browser::new().get(&way_back(&departure, "code=theirs")).await), "400");
    assert!(!waiting.ended().await.status.success());
    assert_eq!(scene.endpoint.asked(), 0, "a code of another browser was exchanged");
    assert_refused(&scene.agent.get(URL).await, 403, "not_connected");
    scene.postern.finish();
}

#[tokio::test]
async fn what_the_provider_says_is_shown_but_never_run() {
    let scene = unconnected().await;
    let (waiting, browser) = (connect(&scene).await, Browser::new());
    let departure = departure(&browser.get(&waiting.start()).await);
    let told = "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let page = browser.get(&way_back(&departure, told)).await;
    assert_eq!(status(&page), "400");
    assert!(page.contains("access_denied") && page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
    let ended = waiting.ended().await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("access_denied"));
    scene.postern.finish();
}

#[tokio::test]
async fn an_incomplete_or_doubled_answer_is_refused() {
    let scene = unconnected().await;
    let (waiting, browser) = (connect(&scene).await, Browser::new());
    let departure = departure(&browser.get(&waiting.start()).await);
    let (uri, state) = (asked(&departure, "redirect_uri"), asked(&departure, "state"));
    for query in [
        String::new(),
        "code=c".into(),
        format!("state={state}"),
        format!("code=a&code=b&state={state}"),
        "code=c&state=x".into(),
    ] {
        assert_eq!(status(&browser.get(&format!("{uri}?{query}")).await), "400", "{query}");
    }
    assert_eq!(scene.endpoint.asked(), 0);
    assert_eq!(status(&browser.get(&way_back(&departure, "code=c")).await), "200");
    scene.postern.finish();
}
