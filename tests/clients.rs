//! Real clients under `postern run`, each of which learns of proxy and CA from its environment alone: at a bound host
//! the upstream gets the connection's token exactly once, at any other the client is told why not. It refuses to skip a
//! client that is not installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{Postern, postern};

use crate::nginx::{BODY, GREETING, Nginx};
use crate::tools::{node, python, source, tool};

#[path = "clients/nginx.rs"]
mod nginx;
#[path = "clients/tools.rs"]
mod tools;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postern");
const BOUND: &str = "api.notion.test";
const UNBOUND: &str = "api.elsewhere.test";

#[tokio::test]
async fn curl_gets_the_answer_that_its_account_may_see_whatever_token_it_sends() {
    let house = House::open().await;
    let curl = tool("curl", "curl").into_os_string();
    let fields = ["Authorization: Bearer placeholder", "Proxy-Authorization: Basic cGxhY2U6aG9sZGVy"];
    let options = ["--silent", "--show-error", "--include", "--header", fields[0], "--header", fields[1]];
    house.serves(&[&[curl][..], &options.map(OsString::from)].concat()).await;
}

#[tokio::test]
async fn python_requests_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[python().into_os_string(), source("get.py").into(), "requests".into()]).await;
}

#[tokio::test]
async fn python_httpx_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[python().into_os_string(), source("get.py").into(), "httpx".into()]).await;
}

#[tokio::test]
async fn python_that_checks_certificates_strictly_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[python(), source("strict.py")]).await;
}

#[tokio::test]
async fn wget_whose_tls_is_gnutls_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    // No variable tells wget which authority to trust.
    let wget = "exec wget --quiet --server-response --content-on-error --output-document=- --ca-certificate=\"$SSL_CERT_FILE\" \"$1\"";
    tool("wget", "wget");
    house.serves(&[tool("sh", "dash").into_os_string(), "-c".into(), wget.into(), "sh".into()]).await;
}

#[tokio::test]
async fn node_fetch_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[node().into_os_string(), source("fetch.mjs").into()]).await;
}

#[tokio::test]
async fn undici_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[node().into_os_string(), source("undici.mjs").into()]).await;
}

#[tokio::test]
async fn axios_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    house.serves(&[node().into_os_string(), source("axios.mjs").into()]).await;
}

#[tokio::test]
async fn the_jdks_http_client_gets_the_answer_that_its_account_may_see() {
    let house = House::open().await;
    // The JDK, not just a runtime: it compiles the source on the fly.
    let java = tool("javac", "default-jdk-headless").with_file_name("java");
    house.serves(&[java, source("Get.java")]).await;
}

#[tokio::test]
async fn git_clones_over_https_what_its_account_may_see() {
    let house = House::open().await;
    let git = tool("git", "git").into_os_string();
    let clone = house.postern.folder().join("clone");
    let repository = |host: &str| OsString::from(format!("https://{host}/git/greeting.git"));

    let cloned = house.run(&[git.clone(), "clone".into(), repository(BOUND), clone.clone().into_os_string()]);
    assert!(cloned.status.success(), "{}", text(&cloned));
    assert_eq!(fs::read_to_string(clone.join(GREETING.0)).unwrap(), GREETING.1);
    house.the_token_arrived_exactly_once_in_each_request().await;

    // git shows no body of an error, but it does show the fields when asked to.
    let traced = [tool("env", "coreutils").into_os_string(), "GIT_TRACE_CURL=1".into(), git, "clone".into()];
    let elsewhere = [repository(UNBOUND), house.postern.folder().join("other").into_os_string()];
    let refused = house.run(&[&traced[..], &elsewhere].concat());
    assert!(!refused.status.success());
    assert!(text(&refused).contains("returned error: 403"), "{}", text(&refused));
    assert!(text(&refused).contains("x-postern-error: binding_missing"), "{}", text(&refused));
}

#[tokio::test]
async fn no_client_can_find_a_secret_in_its_environment() {
    let house = House::open().await;
    let environment = house.run(&[tool("env", "coreutils")]);
    assert!(text(&environment).contains("HTTPS_PROXY="), "{}", text(&environment));
    for secret in [house.postern.token("notion"), "TOKEN_NOTION", "POSTERN_"] {
        assert!(!text(&environment).contains(secret), "{secret} is in the environment");
    }
}

/// A postern with one account, and nginx where that account is at home.
struct House {
    nginx: Nginx,
    postern: Postern,
}

impl House {
    async fn open() -> Self {
        let nginx = Nginx::start(BOUND);
        let settings = postern(PROGRAM)
            .connection("notion", &[BOUND])
            .binding("{deployment: bot, connection: notion}")
            .connect_to(&format!("{BOUND}:443"), nginx.address());
        Self { nginx, postern: settings.start().await }
    }

    /// The client, given a URL as its last argument, prints status and body.
    async fn serves(&self, client: &[impl AsRef<OsStr>]) {
        let get = |host: &str| {
            let url = format!("https://{host}/v1/users/me");
            let command: Vec<&OsStr> = client.iter().map(AsRef::as_ref).chain([OsStr::new(&url)]).collect();
            text(&self.run(&command))
        };

        let answered = get(BOUND);
        assert!(answered.contains("200") && answered.contains(BODY), "{answered}");
        self.the_token_arrived_exactly_once_in_each_request().await;

        let refused = get(UNBOUND);
        assert!(refused.contains("403") && refused.contains("\"binding_missing\""), "{refused}");
    }

    async fn the_token_arrived_exactly_once_in_each_request(&self) {
        let bearer = format!("Bearer {}", self.postern.token("notion"));
        for request in self.nginx.received().await {
            assert_eq!(request.values("authorization"), [&bearer], "{request:?}");
            assert!(request.values("proxy-authorization").is_empty(), "{request:?}");
        }
    }

    /// Runs a command as deployment `bot`. The operator's own environment holds the token, as it would.
    fn run(&self, command: &[impl AsRef<OsStr>]) -> Output {
        let home: &Path = self.postern.folder();
        Command::new(PROGRAM)
            .args(["run", "--deployment", "bot", "--config"])
            .arg(self.postern.config_path())
            .arg("--data")
            .arg(self.postern.data())
            .arg("--")
            .args(command)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", home)
            .env("TOKEN_NOTION", self.postern.token("notion"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// All that a client printed.
fn text(output: &Output) -> String {
    [&*String::from_utf8_lossy(&output.stdout), &*String::from_utf8_lossy(&output.stderr)].concat()
}
