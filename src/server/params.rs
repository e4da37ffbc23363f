//! Parameters of a request, wherever they came: query string, form, JSON object, or a raw body.
//!
//! In: the query string and the body. Out: [`Fields`], and from them the [`Params`] that a template may see.
//! Which route asks is not known here.

use crate::{server::error::Fault, template::Params};
use axum::http::{HeaderMap, header};
use serde_json::Value;

/// Names and values in the order they came; a name may stand more than once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    items: Vec<(String, Value)>,
}

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Empty,
    Fields(Fields),
    /// Text that is neither a form nor a JSON object: SQL, mostly.
    Text(String),
}

/// What clients add to every call for their own purposes. A template never sees these.
const NOISE: &[&str] = &[
    "token",
    "q",
    "cli_version",
    "from",
    "__tb__client",
    "__tb__semver",
    "__tb__deployment",
    "debug",
    "pipe_checker",
    "release_replacements",
    "log",
];

impl Fields {
    pub(super) fn of_query(query: Option<&str>) -> Fields {
        Fields::of_form(query.unwrap_or_default().as_bytes())
    }

    fn of_form(text: &[u8]) -> Fields {
        let items = form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned().into()));
        Fields { items: items.collect() }
    }

    /// The fields of the query string, then those of the body.
    pub(super) fn and(mut self, body: Fields) -> Fields {
        self.items.extend(body.items);
        self
    }

    /// The last value of a name, as text; a null is no value.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.items.iter().rev().find(|(it, _)| it == name).and_then(|(_, value)| text_of(value))
    }

    /// The same where it says something: clients send blanks and Python's `None` for what they were not given.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        self.text(name).filter(|it| !it.trim().is_empty() && it != "None")
    }

    pub(super) fn required(&self, name: &'static str) -> Result<String, Fault> {
        self.text(name).filter(|it| !it.is_empty()).ok_or(Fault::Missing(name))
    }

    /// `true`, `1`, `yes` and `on` switch on; anything else, or nothing, does not.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|it| matches!(it.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"))
    }

    /// The names, in the order they came, repeats included.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|(name, _)| name.as_str())
    }

    /// Every value of a name, the items of JSON arrays one by one.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.items.iter().filter(move |(it, _)| it == name).flat_map(|(_, value)| match value {
            Value::Array(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        })
    }

    /// What a template may see: a name that came several times is one list with commas, as `Array` reads it.
    pub(super) fn template_params(&self) -> Params {
        let mut res = Params::new();
        for (name, value) in &self.items {
            if NOISE.contains(&name.as_str()) || value.is_null() {
                continue;
            }
            let value = match value {
                Value::Object(_) => Value::String(value.to_string()),
                value => value.clone(),
            };
            match res.get_mut(name) {
                Some(earlier) => join(earlier, value),
                None => _ = res.insert(name.clone(), value),
            }
        }
        res
    }
}

impl FromIterator<(String, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(items: I) -> Fields {
        Fields { items: items.into_iter().map(|(name, value)| (name, value.into())).collect() }
    }
}

impl Body {
    /// Reads a body leniently: the declared type decides only where the bytes leave a doubt.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Body, Fault> {
        let blank = bytes.iter().all(u8::is_ascii_whitespace);
        if blank {
            return Ok(Body::Empty);
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let text = || String::from_utf8(bytes.to_vec()).map_err(|_| Fault::BadBody("it is not UTF-8".to_owned()));
        let json = kind.contains("json");
        if json || bytes.trim_ascii_start().starts_with(b"{") {
            return match serde_json::from_slice(bytes) {
                Ok(Value::Object(fields)) => Ok(Body::Fields(Fields { items: fields.into_iter().collect() })),
                Ok(_) if json => Err(Fault::BadBody("a JSON object is expected".to_owned())),
                Err(error) if json => Err(Fault::BadBody(error.to_string())),
                Ok(_) | Err(_) => Ok(Body::Text(text()?)),
            };
        }
        if kind.contains("x-www-form-urlencoded") && is_form(bytes) {
            return Ok(Body::Fields(Fields::of_form(bytes)));
        }
        Ok(Body::Text(text()?))
    }

    /// The fields of a body that has nothing else; a body without a type may be a form all the same.
    pub(super) fn fields(self) -> Result<Fields, Fault> {
        match self {
            Body::Empty => Ok(Fields::default()),
            Body::Fields(fields) => Ok(fields),
            Body::Text(text) if is_form(text.trim().as_bytes()) => Ok(Fields::of_form(text.trim().as_bytes())),
            Body::Text(_) => Err(Fault::BadBody("a form or a JSON object is expected".to_owned())),
        }
    }
}

/// Whether the first thing in `bytes` looks like `name=`: `curl -d` sends SQL with a form's type too.
fn is_form(bytes: &[u8]) -> bool {
    let name = bytes.iter().take_while(|it| **it != b'=').count();
    name > 0
        && name < bytes.len()
        && bytes[..name]
            .iter()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.' | b'%' | b'[' | b']'))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

fn join(earlier: &mut Value, later: Value) {
    match earlier {
        Value::Array(items) => items.push(later),
        earlier => {
            let texts = [text_of(earlier), text_of(&later)];
            *earlier = Value::String(texts.into_iter().flatten().collect::<Vec<_>>().join(","));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: &str, bytes: &str) -> Body {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        Body::read(&headers, bytes.as_bytes()).unwrap()
    }

    #[test]
    fn bodies_are_read_by_their_bytes() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(read("", " \n"), Body::Empty);
        assert_eq!(read(form, "q=select+1"), Body::Fields(Fields { items: vec![("q".into(), json!("select 1"))] }));
        assert_eq!(read(form, "select 1 as a"), Body::Text("select 1 as a".into()));
        assert_eq!(read("", "{\"q\": 1}"), Body::Fields(Fields { items: vec![("q".into(), json!(1))] }));
        assert_eq!(read("text/plain", "select count() from _"), Body::Text("select count() from _".into()));
        assert_eq!(read("", "scope=ADMIN&scope=TOKENS").fields().unwrap().all("scope").count(), 2);
    }

    #[test]
    fn a_json_type_binds() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(Body::read(&headers, b"{\"a\": ").is_err());
        assert!(Body::read(&headers, b"[1]").is_err());
    }

    #[test]
    fn templates_do_not_see_noise() {
        let fields = Fields::of_query(Some("token=t&from=ui&cli_version=1&u=a&u=b&page=0&q=select%201"));
        let seen: Vec<_> = fields.template_params().into_iter().collect();
        assert_eq!(seen, [("u".to_owned(), json!("a,b")), ("page".to_owned(), json!("0"))]);
    }

    #[test]
    fn flags_and_last_values() {
        let fields = Fields::of_query(Some("check=false&check=True&name=a&name=b"));
        assert!(fields.flag("check"));
        assert!(!fields.flag("partial"));
        assert_eq!(fields.text("name").as_deref(), Some("b"));
        assert_eq!(fields.required("other"), Err(Fault::Missing("other")));
    }
}
