//! OAUTHBEARER: tokens that a broker lets in, fetched by client credentials and again before they end.
//!
//! In: an authority's address, a client's id and secret. Out: tokens, for the client to show. No secret and no token
//! is in any error.

use rdkafka::{
    client::OAuthToken,
    consumer::{BaseConsumer, ConsumerContext},
};
use serde::Deserialize;
use std::{error::Error, fmt, time::Duration};

/// How to get tokens. The client's id and secret are the connection's key and secret.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth {
    url: reqwest::Url,
    scope: Option<String>,
}

/// What a client asks for a token; nothing where it logs in otherwise.
#[derive(Clone, Default)]
pub(super) struct Tokens(Option<Asking>);

#[derive(Clone)]
struct Asking {
    oauth: OAuth,
    id: String,
    secret: String,
    /// Who else is trusted to say that an authority is who it is: those who are for the broker.
    ca_pem: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// Seconds.
    expires_in: Option<i64>,
}

/// What authorities say when they refuse, by RFC 6749: a word of a fixed list.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

const LISTEN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 1 << 20;
/// The life of a token, in seconds, whose authority does not say.
const SHORT_LIFE: i64 = 300;
const REFUSALS: &[&str] = &[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

impl OAuth {
    pub fn new(url: &str, scope: Option<&str>) -> Option<OAuth> {
        let url = reqwest::Url::parse(url).ok()?;
        let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
        fits.then(|| OAuth { url, scope: scope.map(str::to_owned) })
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.host_str().unwrap_or_default())
    }
}

impl Tokens {
    pub(super) fn new(oauth: &OAuth, id: &str, secret: &str, ca_pem: Option<&str>) -> Tokens {
        let [id, secret] = [id, secret].map(str::to_owned);
        Tokens(Some(Asking { oauth: oauth.clone(), id, secret, ca_pem: ca_pem.map(str::to_owned) }))
    }

    /// A token is asked for when the client is listened to, and a broker answers nothing without one.
    pub(super) fn listen<C: ConsumerContext>(&self, client: &BaseConsumer<C>) {
        if self.0.is_some() {
            _ = client.poll(LISTEN);
        }
    }

    /// Asks for a token. Blocks; must not be called where a runtime is being driven.
    pub(super) fn fetch(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let asking = self.0.as_ref().ok_or("no token was to be asked for")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(asking.ask())?)
    }
}

impl Asking {
    async fn ask(&self) -> Result<OAuthToken, String> {
        // The client's words name the address, whose query may be secret.
        let failed = |error: reqwest::Error| format!("the authority does not answer: {}", error.without_url());
        let mut http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        // What is no certificate is said by the client that shows the token.
        let trusted = self.ca_pem.as_ref().and_then(|it| reqwest::Certificate::from_pem_bundle(it.as_bytes()).ok());
        for certificate in trusted.into_iter().flatten() {
            http = http.add_root_certificate(certificate);
        }
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.oauth.scope.as_deref().map(|it| ("scope", it)));
        // RFC 6749 wants both encoded like a form before they are put together.
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = http.build().map_err(failed)?.post(self.oauth.url.clone());
        let request = request.basic_auth(encode(&self.id), Some(encode(&self.secret))).form(&form);
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST_ANSWER {
                return Err("the authority's answer is too large".to_owned());
            }
        }
        if !status.is_success() {
            let said = serde_json::from_slice::<Refusal>(&bytes).ok();
            let word = said.and_then(|it| REFUSALS.iter().find(|known| **known == it.error));
            return Err(match word {
                Some(word) => format!("the authority answers {status}: {word}"),
                None => format!("the authority answers {status}"),
            });
        }
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| "the authority's answer is no token")?;
        let life = answer.expires_in.filter(|it| *it > 0).unwrap_or(SHORT_LIFE);
        let lifetime_ms = jiff::Timestamp::now().as_millisecond().saturating_add(life.saturating_mul(1000));
        Ok(OAuthToken { token: answer.access_token, principal_name: self.id.clone(), lifetime_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_an_address_without_a_password() {
        assert!(OAuth::new("https://a.example/token", None).is_some());
        for bad in ["a.example/token", "ftp://a.example", "https://u:p@a.example/token"] {
            assert!(OAuth::new(bad, None).is_none(), "{bad}");
        }
    }
}
