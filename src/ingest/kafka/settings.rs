//! How to reach a broker: the settings of a Kafka connection, checked.
//!
//! In: the keys of a `.connection` file. Out: [`Settings`], and librdkafka's configuration. Secrets are in
//! neither `Debug` nor any error.

use super::{
    oauth::{OAuth, Tokens},
    registry::RegistryUrl,
};
use rdkafka::ClientConfig;
use std::{collections::BTreeMap, fmt};

#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `host:port`, one or more, comma between.
    pub bootstrap_servers: String,
    pub security_protocol: SecurityProtocol,
    pub mechanism: SaslMechanism,
    pub key: Option<String>,
    pub secret: Option<String>,
    /// The certificates that are trusted, as PEM text.
    pub ca_pem: Option<String>,
    pub registry: Option<RegistryUrl>,
    /// Where tokens of OAUTHBEARER come from.
    pub oauth: Option<OAuth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{value}` is not a {key}: it is one of {allowed}")]
    Value { key: &'static str, value: String, allowed: &'static str },
    /// It may hold a password, so it is not shown.
    #[error("KAFKA_SCHEMA_REGISTRY_URL is no address: it is http(s)://host:port")]
    Registry,
    #[error("KAFKA_SASL_OAUTHBEARER_TOKEN_URL is no address: it is http(s)://host/path, without a password")]
    TokenUrl,
    #[error("`{0}` is not a broker's address: it is host:port, with a comma between several")]
    Address(String),
}

impl Settings {
    /// From a `.connection` file's keys, whether `KAFKA_BOOTSTRAP_SERVERS` or `bootstrap_servers`.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Settings, BadSettings> {
        let get = |key: &str| {
            let found = map.iter().find(|(name, _)| {
                let name = name.to_ascii_lowercase();
                name.strip_prefix("kafka_").unwrap_or(&name) == key
            });
            found.map(|(_, value)| value.trim()).filter(|it| !it.is_empty())
        };
        let bootstrap_servers = get("bootstrap_servers").ok_or(BadSettings::Missing("KAFKA_BOOTSTRAP_SERVERS"))?;
        for address in bootstrap_servers.split(',') {
            let parts = address.trim().rsplit_once(':');
            if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|it| it > 0)) {
                return Err(BadSettings::Address(address.trim().to_owned()));
            }
        }
        let security_protocol = match get("security_protocol") {
            None => SecurityProtocol::SaslSsl,
            Some(it) => SecurityProtocol::parse(it)?,
        };
        let mechanism = match get("sasl_mechanism").or(get("sasl_mechanisms")) {
            None => SaslMechanism::Plain,
            Some(it) => SaslMechanism::parse(it)?,
        };
        let (key, secret) = (get("key").map(str::to_owned), get("secret").map(str::to_owned));
        if security_protocol.has_sasl() {
            if key.is_none() {
                return Err(BadSettings::Missing("KAFKA_KEY"));
            }
            if secret.is_none() {
                return Err(BadSettings::Missing("KAFKA_SECRET"));
            }
        }
        let oauth = match mechanism {
            SaslMechanism::OAuthBearer if security_protocol.has_sasl() => {
                if let Some(method) = get("sasl_oauthbearer_method").filter(|it| !it.eq_ignore_ascii_case("OIDC")) {
                    return Err(BadSettings::Value {
                        key: "KAFKA_SASL_OAUTHBEARER_METHOD",
                        value: method.to_owned(),
                        allowed: "OIDC",
                    });
                }
                let url = get("sasl_oauthbearer_token_url");
                let url = url.ok_or(BadSettings::Missing("KAFKA_SASL_OAUTHBEARER_TOKEN_URL"))?;
                Some(OAuth::new(url, get("sasl_oauthbearer_scope")).ok_or(BadSettings::TokenUrl)?)
            }
            _ => None,
        };
        Ok(Settings {
            bootstrap_servers: bootstrap_servers.to_owned(),
            security_protocol,
            mechanism,
            key,
            secret,
            ca_pem: get("ssl_ca_pem").map(str::to_owned),
            registry: get("schema_registry_url")
                .map(|it| RegistryUrl::parse(it).ok_or(BadSettings::Registry))
                .transpose()?,
            oauth,
        })
    }

    /// A broker on this machine without any protection.
    pub fn plaintext(bootstrap_servers: &str) -> Settings {
        Settings {
            bootstrap_servers: bootstrap_servers.to_owned(),
            security_protocol: SecurityProtocol::Plaintext,
            mechanism: SaslMechanism::Plain,
            key: None,
            secret: None,
            ca_pem: None,
            registry: None,
            oauth: None,
        }
    }

    /// What a client of these settings asks for tokens.
    pub(super) fn tokens(&self) -> Tokens {
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        self.oauth
            .as_ref()
            .map(|it| Tokens::new(it, &text(&self.key), &text(&self.secret), self.ca_pem.as_deref()))
            .unwrap_or_default()
    }

    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("security.protocol", self.security_protocol.as_str())
            .set("socket.keepalive.enable", "true")
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "3000");
        if self.security_protocol.has_sasl() {
            config.set("sasl.mechanism", self.mechanism.as_str());
        }
        if self.security_protocol.has_sasl() && self.mechanism != SaslMechanism::OAuthBearer {
            config
                .set("sasl.username", self.key.as_deref().unwrap_or_default())
                .set("sasl.password", self.secret.as_deref().unwrap_or_default());
        }
        if let (SecurityProtocol::Ssl | SecurityProtocol::SaslSsl, Some(pem)) = (self.security_protocol, &self.ca_pem) {
            config.set("ssl.ca.pem", pem);
        }
        config
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("security_protocol", &self.security_protocol)
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

impl SecurityProtocol {
    pub fn parse(text: &str) -> Result<SecurityProtocol, BadSettings> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => SecurityProtocol::Plaintext,
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => {
                return Err(BadSettings::Value {
                    key: "KAFKA_SECURITY_PROTOCOL",
                    value: text.to_owned(),
                    allowed: "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
                });
            }
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

impl SaslMechanism {
    pub fn parse(text: &str) -> Result<SaslMechanism, BadSettings> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "PLAIN" => SaslMechanism::Plain,
            "SCRAM-SHA-256" => SaslMechanism::ScramSha256,
            "SCRAM-SHA-512" => SaslMechanism::ScramSha512,
            "OAUTHBEARER" => SaslMechanism::OAuthBearer,
            _ => {
                return Err(BadSettings::Value {
                    key: "KAFKA_SASL_MECHANISM",
                    value: text.to_owned(),
                    allowed: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
                });
            }
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        Settings::from_map(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_connection_is_sasl_ssl_and_plain_unless_told_otherwise() {
        let it = settings(&[("KAFKA_BOOTSTRAP_SERVERS", "a:9092,b:9093"), ("KAFKA_KEY", "k"), ("KAFKA_SECRET", "s3")]);
        let it = it.unwrap();
        assert_eq!((it.security_protocol, it.mechanism), (SecurityProtocol::SaslSsl, SaslMechanism::Plain));
        assert!(!format!("{it:?}").contains("s3"));
        assert!(settings(&[("bootstrap_servers", "a:1"), ("security_protocol", "plaintext")]).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(settings(&[]), Err(BadSettings::Missing("KAFKA_BOOTSTRAP_SERVERS")));
        assert_eq!(settings(&[("KAFKA_BOOTSTRAP_SERVERS", "a:1")]), Err(BadSettings::Missing("KAFKA_KEY")));
        assert_eq!(settings(&[("KAFKA_BOOTSTRAP_SERVERS", "a:b")]), Err(BadSettings::Address("a:b".to_owned())));
        let wrong = settings(&[("KAFKA_BOOTSTRAP_SERVERS", "a:1"), ("KAFKA_SECURITY_PROTOCOL", "TLS")]);
        assert!(matches!(wrong, Err(BadSettings::Value { .. })));
        let tokens = |key: &str, value: &str| {
            settings(&[
                ("KAFKA_BOOTSTRAP_SERVERS", "a:1"),
                ("KAFKA_KEY", "k"),
                ("KAFKA_SECRET", "s"),
                ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
                (key, value),
            ])
        };
        let url = "KAFKA_SASL_OAUTHBEARER_TOKEN_URL";
        assert_eq!(tokens("x", "y"), Err(BadSettings::Missing(url)));
        assert_eq!(tokens(url, "http://u:p@a/"), Err(BadSettings::TokenUrl));
        assert!(tokens(url, "https://a/token").is_ok_and(|it| it.oauth.is_some()));
        let aws = tokens("KAFKA_SASL_OAUTHBEARER_METHOD", "AWS");
        assert!(matches!(aws, Err(BadSettings::Value { key: "KAFKA_SASL_OAUTHBEARER_METHOD", .. })));
    }
}
