//! Tokens that carry what they may do themselves: JSON Web Tokens, signed with HMAC-SHA256.
//!
//! In: a token string or claims, a workspace's id and key, the time. Out: an [`Access`], or [`BadToken`] without a
//! reason, which would help a guesser alone. Exactly one algorithm is known and the header cannot choose another;
//! nothing of a token is read before its signature is right; what is not understood is refused, since a
//! limit, a filter or a parameter that is passed over would open more than its author meant (RFC 8725).

use super::{Access, Limits, Scope, ScopeKind, check_filter};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};
use sha2::Sha256;
use std::{fmt, marker::PhantomData, sync::Arc};

/// A token that is none, of which nothing more is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct BadToken;

/// Why claims make no token, in words for whoever asked for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadClaims(String);

/// What a token says. Further registered claims (`iat`, `iss`, `sub`, ..) may stand beside these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub workspace_id: String,
    pub name: String,
    /// Seconds since 1970; from then on the token is nobody's.
    pub exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(deserialize_with = "objects")]
    pub scopes: Vec<ScopeClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_or_none")]
    pub limits: Option<Limits>,
}

/// JSON's `{}` and nothing else: by itself serde takes a list for an object whose fields are in its order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn objects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ScopeClaim>, D::Error> {
    let scopes = Vec::<Object<ScopeClaim>>::deserialize(deserializer)?;
    Ok(scopes.into_iter().map(|it| it.0).collect())
}

fn object_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Limits>, D::Error> {
    Ok(Option::<Object<Limits>>::deserialize(deserializer)?.map(|it| it.0))
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeClaim {
    #[serde(rename = "type")]
    pub kind: String,
    pub resource: String,
    /// Parameters of an endpoint that a request cannot choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_params: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Longer tokens are nobody's: nothing that a caller can make long is hashed and parsed for nothing.
const MAX_LENGTH: usize = 8 << 10;

/// Whether a string could be such a token at all: three parts, the first of them a JSON object.
pub fn is_jwt(token: &str) -> bool {
    token.starts_with("ey") && token.bytes().filter(|it| *it == b'.').count() == 2
}

/// Signs claims with a workspace's key. Whether they make sense is [`access`]'s to say.
pub fn sign(claims: &Claims, key: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = serde_json::to_vec(claims).expect("claims are plain JSON");
    let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(key, signed.as_bytes()).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// What the bearer of a signed token may do now.
pub fn verify(token: &str, key: &str, workspace_id: &str, now: u64) -> Result<Access, BadToken> {
    if token.len() > MAX_LENGTH || key.is_empty() {
        return Err(BadToken);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(BadToken)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken)?;
    // Compares in constant time, and all 32 bytes of it.
    mac(key, signed.as_bytes()).verify_slice(&signature).map_err(|_| BadToken)?;
    let (header, claims) = signed.split_once('.').ok_or(BadToken)?;
    check_header(&part(header)?)?;
    let Object(claims): Object<Claims> = serde_json::from_slice(&part(claims)?).map_err(|_| BadToken)?;
    let valid = claims.workspace_id == workspace_id && now < claims.exp && claims.nbf.is_none_or(|it| it <= now);
    if !valid {
        return Err(BadToken);
    }
    access(&claims).map_err(|_| BadToken)
}

/// What claims open.
pub fn access(claims: &Claims) -> Result<Access, BadClaims> {
    let bad = |words: String| Err(BadClaims(words));
    if claims.scopes.is_empty() {
        return bad("a token needs scopes".to_owned());
    }
    let limits = claims.limits.unwrap_or_default();
    if let Some(name) = limits.without_effect() {
        return bad(format!("`limits.{name}` is at least 1"));
    }
    let mut scopes: Vec<Scope> = Vec::new();
    let mut fixed: Vec<(String, Map<String, Value>)> = Vec::new();
    for claim in &claims.scopes {
        let kind = ScopeKind::parse(&claim.kind);
        let Some(kind @ (ScopeKind::PipesRead | ScopeKind::DatasourcesRead | ScopeKind::DatasourcesAppend)) = kind
        else {
            return bad(format!(
                "`{}` is no scope of a token that expires: PIPES:READ, DATASOURCES:READ and DATASOURCES:APPEND are",
                claim.kind
            ));
        };
        let scope = Scope::new(kind, Some(&claim.resource), claim.filter.as_deref());
        let scope = scope.map_err(|error| BadClaims(error.to_string()))?;
        if let Some(filter) = &scope.filter {
            check_filter(filter).map_err(|error| BadClaims(format!("the filter `{filter}`: {error}")))?;
        }
        if let Some(params) = claim.fixed_params.as_ref().filter(|it| !it.is_empty()) {
            if kind != ScopeKind::PipesRead {
                return bad(format!("`fixed_params` are for endpoints: {} has none", claim.resource));
            }
            if params.values().any(|it| it.is_null() || it.is_object()) {
                return bad("a value of `fixed_params` is a string, a number, a boolean or a list".to_owned());
            }
            fixed.push((claim.resource.clone(), params.clone()));
        }
        // Twice the same endpoint: one of them would not hold.
        let twice =
            kind == ScopeKind::PipesRead && scopes.iter().any(|it| it.kind == kind && it.resource == scope.resource);
        if twice {
            return bad(format!("the endpoint `{}` stands twice", claim.resource));
        }
        scopes.push(scope);
    }
    Ok(Access {
        token_id: "".into(),
        scopes: scopes.into(),
        token_name: claims.name.as_str().into(),
        inside: false,
        fixed_params: Arc::from(fixed),
        limits,
    })
}

/// `{"alg": "HS256", "typ": "JWT"}`. A key that the header names or brings along is not looked at; an extension
/// that must be understood is not.
fn check_header(header: &[u8]) -> Result<(), BadToken> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        typ: Option<String>,
        crit: Option<Value>,
        b64: Option<Value>,
        zip: Option<Value>,
        enc: Option<Value>,
    }
    let Object(header): Object<Header> = serde_json::from_slice(header).map_err(|_| BadToken)?;
    let plain = header.crit.is_none() && header.b64.is_none() && header.zip.is_none() && header.enc.is_none();
    let jwt = header.typ.is_none_or(|it| it.eq_ignore_ascii_case("JWT"));
    if header.alg == "HS256" && jwt && plain { Ok(()) } else { Err(BadToken) }
}

fn part(text: &str) -> Result<Vec<u8>, BadToken> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken)
}

fn mac(key: &str, text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ResourceName;
    use serde_json::json;

    const KEY: &str = "p.eyJ1Ijoi.some-admin-token";
    const NOW: u64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "workspace_id": "w1", "name": "app", "exp": NOW + 60, "iat": NOW, "iss": "app",
            "scopes": [
                {"type": "PIPES:READ", "resource": "p", "fixed_params": {"company_id": 1}},
                {"type": "DATASOURCES:READ", "resource": "x", "filter": "company_id = 1"},
            ],
            "limits": {"rps": 10},
        })
    }

    fn signed(header: &Value, claims: &Value, key: &str) -> String {
        raw(&header.to_string(), &claims.to_string(), key)
    }

    fn raw(header: &str, claims: &str, key: &str) -> String {
        let signed = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = mac(key, signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn verified(token: &str) -> Result<Access, BadToken> {
        verify(token, KEY, "w1", NOW)
    }

    #[test]
    fn what_an_application_signs_is_read() {
        let token = signed(&json!({"alg": "HS256", "typ": "JWT", "kid": "1"}), &claims(), KEY);
        let access = verified(&token).unwrap();
        let name = |it| ResourceName::new(it).unwrap();
        assert_eq!(access.token_name(), "app");
        assert_eq!(access.limits().rps, Some(10));
        assert_eq!(access.read(&name("x")).unwrap().filters(), ["company_id = 1"]);
        assert!(access.enter(&name("p")).is_ok() && access.enter(&name("q")).is_err() && !access.is_admin());
        assert_eq!(access.fixed_params(&name("p")).unwrap()["company_id"], json!(1));
        let parsed: Claims = serde_json::from_value(claims()).unwrap();
        assert!(verified(&sign(&parsed, KEY)).is_ok());
    }

    #[test]
    fn a_header_chooses_nothing() {
        assert!(verified(&signed(&json!({"alg": "HS256"}), &claims(), KEY)).is_ok());
        for header in [
            json!({"alg": "none"}),
            json!({"alg": "None", "typ": "JWT"}),
            json!({"alg": "hs256"}),
            json!({"alg": "HS512"}),
            json!({"alg": "RS256"}),
            json!({"alg": ["HS256"]}),
            json!({"typ": "JWT"}),
            json!({"alg": "HS256", "typ": "JWE"}),
            json!({"alg": "HS256", "crit": ["exp"]}),
            json!({"alg": "HS256", "b64": false, "crit": ["b64"]}),
            json!({"alg": "HS256", "zip": "DEF"}),
            json!([]),
            json!(["HS256", "JWT", null, null, null, null]),
        ] {
            assert_eq!(verified(&signed(&header, &claims(), KEY)).err(), Some(BadToken), "{header}");
        }
        let twice = r#"{"alg": "none", "alg": "HS256"}"#;
        assert!(verified(&raw(twice, &claims().to_string(), KEY)).is_err());
        // No signature, a part of one, one of another key, of another text.
        let good = signed(&json!({"alg": "HS256"}), &claims(), KEY);
        let (head, signature) = good.rsplit_once('.').unwrap();
        for token in [
            format!("{head}."),
            head.to_owned(),
            format!("{head}.{}", &signature[..20]),
            format!("{head}.{signature}="),
            format!("{good}."),
            format!("{good}.{signature}"),
            good.replacen("ey", " ey", 1),
            signed(&json!({"alg": "HS256"}), &claims(), "another key"),
            signed(&json!({"alg": "HS256"}), &claims(), ""),
        ] {
            assert!(verified(&token).is_err(), "{token}");
        }
        assert!(verify(&signed(&json!({"alg": "HS256"}), &claims(), ""), "", "w1", NOW).is_err());
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let good = signed(&json!({"alg": "HS256"}), &claims(), KEY);
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(token) = String::from_utf8(bytes) {
                assert!(verified(&token).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn claims_that_are_not_understood_open_nothing() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            verified(&signed(&json!({"alg": "HS256"}), &claims, KEY))
        };
        assert!(with(&|it| it["nbf"] = json!(NOW)).is_ok());
        let wrong: &[&dyn Fn(&mut Value)] = &[
            &|it| it["exp"] = json!(NOW),
            &|it| it["exp"] = json!(NOW - 1),
            &|it| it["exp"] = json!(-1),
            &|it| it["exp"] = json!("2999999999"),
            &|it| it["exp"] = json!(1e300),
            &|it| it["exp"] = Value::Null,
            &|it| it["nbf"] = json!(NOW + 1),
            &|it| it["nbf"] = json!("x"),
            &|it| it["workspace_id"] = json!("w2"),
            &|it| it["workspace_id"] = json!(["w1"]),
            &|it| it["name"] = json!(7),
            &|it| it["scopes"] = json!([]),
            &|it| it["scopes"] = json!("PIPES:READ:p"),
            &|it| it["scopes"] = json!([{"type": "ADMIN", "resource": ""}]),
            &|it| it["scopes"] = json!([{"type": "TOKENS", "resource": "x"}]),
            &|it| it["scopes"] = json!([{"type": "WORKSPACE:READ_ALL", "resource": "x"}]),
            &|it| it["scopes"][0]["fixed_parameters"] = json!({"a": 1}),
            &|it| it["scopes"][0]["fixed_params"] = json!([1]),
            &|it| it["scopes"][0]["fixed_params"] = json!({"a": {"b": 1}}),
            &|it| it["scopes"][0]["fixed_params"] = json!({"a": null}),
            &|it| it["scopes"][0]["filter"] = json!("a = 1"),
            &|it| it["scopes"][1]["fliter"] = json!("a = 1"),
            &|it| it["scopes"][1]["filter"] = json!("a = 1)) or ((1 = 1"),
            &|it| it["scopes"][1]["filter"] = json!(true),
            &|it| it["scopes"][1]["fixed_params"] = json!({"a": 1}),
            &|it| it["scopes"] = json!([it["scopes"][0], {"type": "PIPES:READ", "resource": "p"}]),
            &|it| it["limits"] = json!({"rps": 0}),
            &|it| it["limits"] = json!({"rps": -1}),
            &|it| it["limits"] = json!({"qps": 1}),
            &|it| it["limits"] = json!([]),
            &|it| it["limits"] = json!([5]),
            &|it| it["scopes"] = json!([["PIPES:READ", "p"]]),
            &|it| *it = json!(["w1", "app", NOW + 60, null, it["scopes"], null]),
        ];
        for (index, change) in wrong.iter().enumerate() {
            assert!(with(*change).is_err(), "{index}");
        }
        let text = claims().to_string();
        let twice = text.replacen('{', r#"{"exp":9999999999,"#, 1);
        assert!(verified(&raw(r#"{"alg":"HS256"}"#, &twice, KEY)).is_err());
        let padded = text.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(MAX_LENGTH)), 1);
        assert!(verified(&raw(r#"{"alg":"HS256"}"#, &padded, KEY)).is_err());
        let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let deep = text.replacen(r#""company_id":1"#, &format!(r#""company_id":{nested}"#), 1);
        assert_ne!(deep, text);
        assert!(verified(&raw(r#"{"alg":"HS256"}"#, &deep, KEY)).is_err());
        // A claim of somebody else's is read past, however deep it is.
        let foreign = text.replacen('{', &format!(r#"{{"pad":{nested},"#), 1);
        assert!(verified(&raw(r#"{"alg":"HS256"}"#, &foreign, KEY)).is_ok());
    }
}
