//! Signed assertions (RFC 7523): JSON Web Tokens by which a service account or a GitHub App proves itself. It signs
//! nothing that lives longer than an hour, and never shows a key, not even a broken one.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::request::checked_url;

/// The longest life of an assertion, in seconds: an hour, which is what Google allows.
const LIFE_SECS_MAX: i64 = 60 * 60;
/// The life of a GitHub App's assertion, in seconds: its limit is ten minutes, counted by GitHub's clock.
const APP_LIFE_SECS: i64 = 9 * 60;
/// How far an assertion is dated back, in seconds, for clocks that run behind ours.
const BACKDATED_SECS: i64 = 30;
/// Where Google's service accounts ask for tokens.
const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// Why there is no assertion. It never holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Not a key in PEM at all.
    #[error(
        "the private key is not PEM: it must begin with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----"
    )]
    NotPem,
    /// A public key or a certificate.
    #[error("this is a public key or a certificate: the private key is needed")]
    NotPrivate,
    /// A key under a passphrase.
    #[error("the private key is encrypted: decrypt it with `openssl pkcs8 -in KEY`")]
    Encrypted,
    /// An elliptic key in the format before PKCS#8.
    #[error("the private key is in the SEC1 format: convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY`")]
    Sec1,
    /// PEM, but no key that can sign RS256 or ES256.
    #[error("the private key is damaged, or neither RSA of 2048 to 8192 bits nor EC on P-256")]
    Unusable,
    /// Not the JSON that Google makes.
    #[error("the service account's key file is not valid JSON: use the file that the Google Cloud console made")]
    NotJson,
    /// Another kind of Google credential.
    #[error("the file is of type {0:?}, not \"service_account\": create a key for a service account")]
    OtherType(String),
    /// A field is missing or empty.
    #[error("the service account's key file has no {0}")]
    Missing(&'static str),
    /// `token_uri` is no https URL.
    #[error("`token_uri` of the service account's key file must be an https URL")]
    TokenUri,
}

/// A private key that signs RS256 or ES256 (RFC 7518 §3.3, §3.4).
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl SigningKey {
    /// Reads a key in PEM: PKCS#8, or PKCS#1 as GitHub makes them. Line ends may be written `\n`, as they come out of
    /// environment variables.
    ///
    /// # Errors
    /// [`AssertionError`] says what it is instead. The key has signed once when this returns.
    pub fn from_pem(pem: &SecretString) -> Result<Self, AssertionError> {
        let text = Zeroizing::new(pem.expose_secret().trim().replace("\\r", "").replace("\\n", "\n"));
        judge_label(&text)?;
        let rsa = EncodingKey::from_rsa_pem(text.as_bytes()).map(|key| Self { key, algorithm: Algorithm::RS256 });
        let signer = rsa
            .or_else(|_| EncodingKey::from_ec_pem(text.as_bytes()).map(|key| Self { key, algorithm: Algorithm::ES256 }))
            .map_err(|_| AssertionError::Unusable)?;
        signer.sign(&Assertion { issuer: "", subject: None, audience: None, scope: None, life_in: 1 }, None, 0)?;
        Ok(signer)
    }

    /// Signs an assertion. `key_id` tells the provider which key this is; `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`AssertionError::Unusable`] where the key does not sign.
    pub fn sign(
        &self,
        assertion: &Assertion<'_>,
        key_id: Option<&str>,
        now: i64,
    ) -> Result<SecretString, AssertionError> {
        let iat = now.saturating_sub(BACKDATED_SECS);
        let claims = Claims {
            iss: assertion.issuer,
            sub: assertion.subject,
            aud: assertion.audience,
            scope: assertion.scope,
            iat,
            exp: iat.saturating_add(assertion.life_in.clamp(1, LIFE_SECS_MAX)),
        };
        let mut header = Header::new(self.algorithm);
        header.kid = key_id.map(str::to_owned);
        encode(&header, &claims, &self.key).map(SecretString::from).map_err(|_| AssertionError::Unusable)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm)
    }
}

/// What is claimed (RFC 7523 §3).
#[derive(Debug, Clone, Copy)]
pub struct Assertion<'a> {
    /// Who says so.
    pub issuer: &'a str,
    /// Who is meant; `None`: as the provider takes it, the issuer.
    pub subject: Option<&'a str>,
    /// To whom it is said: the token endpoint.
    pub audience: Option<&'a str>,
    /// What is asked for, where the provider reads it here.
    pub scope: Option<&'a str>,
    /// How long it holds, counted from its back-dated issue, in seconds; at most an hour.
    pub life_in: i64,
}

/// A GitHub App's assertion; `issuer` is its client id or app id. `now` is in Unix seconds.
///
/// # Errors
/// [`AssertionError::Unusable`] where the key does not sign.
pub fn github_app_assertion(key: &SigningKey, issuer: &str, now: i64) -> Result<SecretString, AssertionError> {
    let assertion = Assertion { issuer, subject: None, audience: None, scope: None, life_in: APP_LIFE_SECS };
    key.sign(&assertion, None, now)
}

/// A Google service account, as its key file describes it.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// The account's address.
    pub client_email: String,
    /// Where it asks for tokens.
    pub token_uri: String,
    key: SigningKey,
    key_id: Option<String>,
}

impl ServiceAccount {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`AssertionError`] names what is missing or wrong.
    pub fn from_key_file(json: &SecretString) -> Result<Self, AssertionError> {
        // The parser's own words could repeat a part of the key.
        let file: KeyFile = serde_json::from_str(json.expose_secret().trim()).map_err(|_| AssertionError::NotJson)?;
        if let Some(other) = file.kind.filter(|kind| kind != "service_account") {
            return Err(AssertionError::OtherType(other.chars().take(64).collect()));
        }
        let client_email = filled(file.client_email).ok_or(AssertionError::Missing("client_email"))?;
        let pem = file.private_key.filter(|pem| !pem.expose_secret().is_empty());
        let key = SigningKey::from_pem(&pem.ok_or(AssertionError::Missing("private_key"))?)?;
        let token_uri = filled(file.token_uri).unwrap_or_else(|| GOOGLE_TOKEN_URL.to_owned());
        let url = checked_url(&token_uri, "token_uri").map_err(|_| AssertionError::TokenUri)?;
        if url.scheme() != "https" {
            return Err(AssertionError::TokenUri);
        }
        Ok(Self { client_email, token_uri, key, key_id: filled(file.private_key_id) })
    }

    /// The assertion that asks for `scopes`, on behalf of `subject` where the account may act for others (domain-wide
    /// delegation). `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`AssertionError::Unusable`] where the key does not sign.
    pub fn assertion(
        &self,
        subject: Option<&str>,
        scopes: &[String],
        now: i64,
    ) -> Result<SecretString, AssertionError> {
        let scope = scopes.join(" ");
        let assertion = Assertion {
            issuer: &self.client_email,
            subject,
            audience: Some(&self.token_uri),
            scope: Some(scope.as_str()).filter(|scope| !scope.is_empty()),
            life_in: LIFE_SECS_MAX,
        };
        self.key.sign(&assertion, self.key_id.as_deref(), now)
    }
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    private_key: Option<SecretString>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    iat: i64,
    exp: i64,
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// What the first line says, so that the operator is told the next step and not just "bad key".
fn judge_label(pem: &str) -> Result<(), AssertionError> {
    let label = pem.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once("-----")).map(|(label, _)| label);
    match label {
        None => Err(AssertionError::NotPem),
        Some("EC PRIVATE KEY" | "EC PARAMETERS") => Err(AssertionError::Sec1),
        Some("ENCRYPTED PRIVATE KEY") => Err(AssertionError::Encrypted),
        Some("RSA PRIVATE KEY") if pem.contains("Proc-Type: 4,ENCRYPTED") => Err(AssertionError::Encrypted),
        Some("PRIVATE KEY" | "RSA PRIVATE KEY") => Ok(()),
        Some(label) if label.contains("PUBLIC") || label.contains("CERTIFICATE") => Err(AssertionError::NotPrivate),
        Some(_) => Err(AssertionError::Unusable),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use jsonwebtoken::{DecodingKey, TokenData, Validation, decode};
    use serde_json::{Value, json};

    use super::super::scripted::secret;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

    fn pem(label: &str, der: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(der);
        let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    fn rsa_pem() -> String {
        let der: Pkcs8V1Der<'_> = RSA.as_der().unwrap();
        pem("PRIVATE KEY", der.as_ref())
    }

    fn opened(assertion: &SecretString, key: &DecodingKey, algorithm: Algorithm) -> TokenData<Value> {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        decode(assertion.expose_secret(), key, &validation).unwrap()
    }

    fn rsa_opened(assertion: &SecretString) -> TokenData<Value> {
        opened(assertion, &DecodingKey::from_rsa_der(RSA.public_key().as_ref()), Algorithm::RS256)
    }

    fn key_file(changes: Value) -> SecretString {
        let mut file = json!({
            "type": "service_account", "client_email": "bot@p.iam.test", "private_key": rsa_pem(),
            "private_key_id": "k1", "token_uri": "https://oauth2.acme.test/token", "project_id": "p",
        });
        for (name, value) in changes.as_object().unwrap() {
            file[name] = value.clone();
        }
        SecretString::from(file.to_string())
    }

    #[test]
    fn a_service_account_signs_what_google_asks_for() {
        let account = ServiceAccount::from_key_file(&key_file(json!({}))).unwrap();
        let scopes = ["a".to_owned(), "b".to_owned()];
        let opened = rsa_opened(&account.assertion(Some("user@p.test"), &scopes, NOW).unwrap());
        assert_eq!(opened.header.alg, Algorithm::RS256);
        assert_eq!(opened.header.kid.as_deref(), Some("k1"));
        let expected = json!({
            "iss": "bot@p.iam.test", "sub": "user@p.test", "aud": "https://oauth2.acme.test/token", "scope": "a b",
            "iat": NOW - 30, "exp": NOW - 30 + 3600,
        });
        assert_eq!(opened.claims, expected);
    }

    #[test]
    fn a_service_account_asks_google_unless_its_file_names_another_place() {
        let account = ServiceAccount::from_key_file(&key_file(json!({"token_uri": null, "type": null}))).unwrap();
        assert_eq!(account.token_uri, GOOGLE_TOKEN_URL);
    }

    #[test]
    fn an_app_signs_for_less_than_ten_minutes() {
        let key = SigningKey::from_pem(&rsa_pem().into()).unwrap();
        let claims = rsa_opened(&github_app_assertion(&key, "Iv1.abc", NOW).unwrap()).claims;
        assert_eq!(claims, json!({"iss": "Iv1.abc", "iat": NOW - 30, "exp": NOW - 30 + 540}));
    }

    #[test]
    fn a_key_as_github_makes_them_signs() {
        let der: Pkcs8V1Der<'_> = RSA.as_der().unwrap();
        // PKCS#1 is what PKCS#8 wraps: version, algorithm and the head of an octet string stand before it.
        let pkcs1 = &der.as_ref()[26..];
        let key = SigningKey::from_pem(&pem("RSA PRIVATE KEY", pkcs1).into()).unwrap();
        assert_eq!(rsa_opened(&github_app_assertion(&key, "7", NOW).unwrap()).claims["iss"], "7");
    }

    #[test]
    fn an_elliptic_key_signs_es256() {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let key = SigningKey::from_pem(&pem("PRIVATE KEY", document.as_ref()).into()).unwrap();
        let assertion = github_app_assertion(&key, "id", NOW).unwrap();
        let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
        assert_eq!(opened(&assertion, &public, Algorithm::ES256).claims["iss"], "id");
    }

    #[test]
    fn a_key_survives_the_way_through_an_environment_variable() {
        let escaped = format!(" {} ", rsa_pem().replace('\n', "\\n"));
        assert!(SigningKey::from_pem(&escaped.into()).is_ok());
        assert!(SigningKey::from_pem(&rsa_pem().replace('\n', "\r\n").into()).is_ok());
    }

    #[test]
    fn no_assertion_outlives_an_hour() {
        let key = SigningKey::from_pem(&rsa_pem().into()).unwrap();
        let endless = Assertion { issuer: "i", subject: None, audience: None, scope: None, life_in: i64::MAX };
        let claims = rsa_opened(&key.sign(&endless, None, NOW).unwrap()).claims;
        assert_eq!(claims["exp"], NOW - 30 + 3600);
    }

    #[test]
    fn each_bad_key_is_told_apart_and_none_is_shown() {
        let canary = "Y2FuYXJ5LWtleS1jYW5hcnkta2V5";
        let canary_der = BASE64_STANDARD.decode(canary).unwrap();
        let labelled = |label| pem(label, &canary_der);
        let rows = [
            (canary.to_owned(), AssertionError::NotPem),
            (String::new(), AssertionError::NotPem),
            (labelled("PUBLIC KEY"), AssertionError::NotPrivate),
            (labelled("CERTIFICATE"), AssertionError::NotPrivate),
            (labelled("EC PRIVATE KEY"), AssertionError::Sec1),
            (labelled("ENCRYPTED PRIVATE KEY"), AssertionError::Encrypted),
            (labelled("PRIVATE KEY"), AssertionError::Unusable),
            (labelled("RSA PRIVATE KEY"), AssertionError::Unusable),
            (pem("RSA PRIVATE KEY", RSA.public_key().as_ref()), AssertionError::Unusable),
            (rsa_pem().replacen("MII", "MIJ", 1), AssertionError::Unusable),
        ];
        for (text, expected) in rows {
            let error = SigningKey::from_pem(&text.clone().into()).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {error:?}").contains("Y2Fu"));
        }
    }

    #[test]
    fn each_bad_key_file_is_told_apart() {
        let read = |changes| ServiceAccount::from_key_file(&key_file(changes)).unwrap_err();
        assert_eq!(ServiceAccount::from_key_file(&secret("{\"canary")).unwrap_err(), AssertionError::NotJson);
        assert_eq!(read(json!({"type": "authorized_user"})), AssertionError::OtherType("authorized_user".into()));
        assert_eq!(read(json!({"client_email": ""})), AssertionError::Missing("client_email"));
        assert_eq!(read(json!({"private_key": null})), AssertionError::Missing("private_key"));
        assert_eq!(read(json!({"token_uri": "http://a.test/"})), AssertionError::TokenUri);
        assert_eq!(read(json!({"private_key": "canary"})), AssertionError::NotPem);
    }

    #[test]
    fn no_key_shows_in_any_print() {
        let account = ServiceAccount::from_key_file(&key_file(json!({}))).unwrap();
        let printed = format!("{account:?}");
        assert!(printed.contains("SigningKey(RS256)") && !printed.contains("MII"), "{printed}");
    }
}
