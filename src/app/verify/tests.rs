use super::{places::find_excerpt, *};

#[test]
fn words_are_found_outside_of_strings_and_comments() {
    let text = "SELECT 'it\\'s x' AS a, -- x\n /* x */ xx, x FROM t";
    let found: Vec<_> = find_words(text, "x").iter().map(|it| it.start).collect();
    assert_eq!(found, [text.rfind("x FROM").unwrap()]);
    assert_eq!(find_words("SELECT a.b, b", "a.b"), [Span::new(7, 10)]);
    assert_eq!(find_words("SELECT 'never closed", "closed"), []);
}

#[test]
fn the_engines_words_lose_what_is_ours() {
    let namespace = Namespace::new("check_abc");
    for (message, words) in [
        (
            "Unknown expression identifier `colmn` in scope SELECT colmn FROM check_abc.t AS t. Maybe you meant: \
             ['column']. (UNKNOWN_IDENTIFIER)",
            "Unknown expression identifier `colmn`",
        ),
        (
            "Illegal types Int32 and String of arguments of function plus: In scope SELECT x + s FROM check_abc.a. \
             (ILLEGAL_TYPE_OF_ARGUMENT)",
            "Illegal types Int32 and String of arguments of function plus",
        ),
        ("Table check_abc.t has a problem. (SOME_CODE)", "Table t has a problem"),
        ("Missing columns (here)", "Missing columns (here)"),
    ] {
        assert_eq!(engine_words(message, &namespace), words);
    }
}

#[test]
fn names_are_read_from_the_engines_words() {
    let message =
        "Unknown expression identifier `colmn` in scope SELECT `other`. Maybe you meant: ['column', 'c']. (X)";
    assert_eq!(quoted(message), ["colmn"]);
    assert_eq!(maybe_meant(message).as_deref(), Some("column"));
    assert_eq!(maybe_meant("nothing of the kind"), None);
}

#[test]
fn the_parsers_place_is_found_in_the_users_text() {
    let message = "Syntax error: failed at position 28 (z): z FROM check_a.a). Expected one of: token, Comma.";
    let text = "SELECT x y\nz FROM a";
    assert_eq!(find_excerpt(text, message), Some(Span::new(11, 12)));
    assert_eq!(find_excerpt("SELECT 1", "another error"), None);
}

#[test]
fn a_table_that_the_engine_finds_and_we_did_not_is_foreign() {
    // As `EXPLAIN QUERY TREE` writes it, one line an object.
    let tree = |table: &str| {
        let lines = [
            "QUERY id: 0",
            "  JOIN TREE",
            "    JOIN id: 2",
            "      TABLE id: 3, alias: __table1, table_name: check_a.t",
        ];
        let more = format!("      TABLE id: 4, alias: __table2, table_name: {table}");
        let lines = lines.into_iter().chain([more.as_str(), "  CONSTANT id: 9, constant_value: 'table_name: x.y'"]);
        lines.map(|it| serde_json::json!({ "explain": it }).to_string() + "\n").collect::<String>()
    };
    let scratch = Namespace::new("check_a");
    let foreign = |table: &str| foreign_table(tree(table).as_bytes(), &scratch).unwrap();
    assert_eq!(foreign("check_a.t2"), None);
    assert_eq!(foreign("system.one"), None);
    assert_eq!(foreign("system.processes").as_deref(), Some("system.processes"));
    assert_eq!(foreign("w01_secret.t").as_deref(), Some("w01_secret.t"));
    assert_eq!(foreign("check_ab.t").as_deref(), Some("check_ab.t"));
}
