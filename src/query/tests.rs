//! What requests compile to, as text.

use super::*;
use crate::name::ResourceName;

#[test]
fn an_endpoint_that_is_not_there_looks_like_one_that_is_closed() {
    let token = crate::auth::Token {
        id: "1".to_owned(),
        name: "t".to_owned(),
        description: String::new(),
        origin: "C".to_owned(),
        scopes: vec![],
        limits: crate::auth::Limits::default(),
    };
    let request = Request::pipe(ResourceName::new("p").unwrap(), Params::new());
    let (project, namespace) = (Project::default(), Namespace::new("w"));
    let error = |access: &Access| compile(&project, &namespace, access, &request).map(drop);
    assert_eq!(error(&Access::of(&token)), Err(QueryError::Denied("p".to_owned())));
    assert_eq!(error(&Access::owner()), Err(QueryError::NoSuchPipe("p".to_owned())));
}

#[test]
fn parameters_are_escaped_as_tab_separated_text() {
    assert_eq!(escape_parameter("a\\b\n\t'"), "a\\\\b\\n\\t'");
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let (project, namespace) = (Project::default(), Namespace::new("w"));
    let ask = |length: usize| {
        let request = Request::sql(format!("SELECT '{}'", "x".repeat(length)));
        compile(&project, &namespace, &Access::owner(), &request).map(drop)
    };
    assert_eq!(ask(250 << 10), Ok(()));
    let error = ask(260 << 10).unwrap_err().to_string();
    assert!(error.contains("longer than 262144 bytes"), "{error}");
}
