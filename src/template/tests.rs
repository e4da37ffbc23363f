//! Unit tests of the template language: what a user relies on, budgets, and two laws: nothing panics or runs
//! away, and no value leaves its literal.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn given(params: Value) -> Params {
    params.as_object().cloned().unwrap_or_default().into_iter().collect()
}

fn render(text: &str, params: Value) -> Result<String, TemplateError> {
    Template::parse(text)?.render(&given(params), &RenderOptions::default()).map(|it| it.sql)
}

#[test]
fn plain_cases_render() {
    assert_eq!(render("SELECT {{ Int32(n, 1) }}", json!({})).unwrap(), "SELECT toInt32('1')");
    let text = "{% if company_id != '0' %}WHERE company_id = {{ String(company_id) }}{% end %}";
    assert_eq!(render(text, json!({"company_id": "1"})).unwrap(), "WHERE company_id = '1'");
    assert_eq!(render(text, json!({"company_id": "0"})).unwrap(), "");
}

#[test]
fn an_error_of_the_template_is_told_as_it_is() {
    let error = render("{{ error('ask for companies or events') }}", json!({})).unwrap_err();
    assert_eq!((error.category, &*error.message, error.status), ("error", "ask for companies or events", 400));
}

#[test]
fn a_missing_parameter_is_named_and_placed() {
    let text = "SELECT {{ String(a) }}, {{ Int8(b) }}, {{ Int8(c, 1) }}";
    let error = render(text, json!({"b": "1"})).unwrap_err();
    assert_eq!((error.category, &*error.message), ("missing_required", "the parameter `a` is required"));
    assert_eq!(&text[error.span.start..error.span.end], "String(a)");
    let error = render(text, json!({})).unwrap_err();
    assert_eq!(error.message, "the parameters `a` and `b` are required");
}

#[test]
fn unknown_functions_and_tags_come_with_a_guess() {
    let error = Template::parse("{{ Sting(x) }}").unwrap_err();
    assert_eq!((error.category, error.hint.as_deref()), ("forbidden", Some("did you mean `String`?")));
    let error = Template::parse("{% if 1 %}{% endif %}").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("close a block with `{% end %}`"));
    let error = Template::parse("{% fr x in y %}{% end %}").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `for`?"));
}

#[test]
fn reserved_names_are_refused_at_push_and_still_documented() {
    assert_eq!(Template::parse("{{ String(q, 'x') }}").unwrap_err().category, "reserved_name");
    assert_eq!(Template::read("{{ String(q, 'x') }}").unwrap().params()[0].name, "q");
}

#[test]
fn every_budget_names_itself() {
    for (text, budget) in [
        ("{% while 1 %}{% end %}", "items in one list or loop"),
        ("{% while 1 %}{% for i in range(100000) %}{% end %}{% end %}", "steps"),
        ("{% set a = 'a' * 10**9 %}", "bytes in one string"),
        ("{% set a = 2 ** 10**9 %}", "bits in one number"),
        ("{% set a = [1] * 10**9 %}", "items in one list or loop"),
        ("{% for i in range(10**12) %}{% end %}", "items in one list or loop"),
        ("{% set f = lambda: f() %}{% set f() %}", "levels of nested evaluation"),
        ("{% for i in range(400000) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% end %}", "bytes of output"),
        ("{% set l = [] %}{% for i in range(100000) %}{% set l = [l] %}{% end %}{{ l }}", "levels of nested values"),
        ("{% set l = [] %}{% for i in range(50) %}{% set l = [l, l] %}{% end %}{% if l == l + [] %}{% end %}", ""),
        ("{{ 'a'.join(['b'] * 100000) }}{% set x = '%999999999d' % 5 %}", "bytes in one string"),
    ] {
        let begin = Instant::now();
        match render(text, json!({})) {
            Err(error) => {
                assert_eq!(error.category, "budget", "{text}: {}", error.message);
                assert!(error.message.contains(budget), "{text}: {}", error.message);
            }
            Ok(_) => assert_eq!(budget, "", "{text} ended"),
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{text} took {:?}", begin.elapsed());
    }
    for text in [
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(5000)),
        format!("{{{{ {}1 }}}}", "-".repeat(5000)),
        format!("{{% if {}x %}}{{% end %}}", "not ".repeat(5000)),
        format!("{}{}", "{% if 1 %}".repeat(5000), "{% end %}".repeat(5000)),
    ] {
        assert_eq!(Template::parse(&text).unwrap_err().category, "budget");
    }
}

#[test]
fn no_try_catches_a_budget() {
    let error = render("{% try %}{% while 1 %}{% end %}{% except %}caught{% end %}", json!({})).unwrap_err();
    assert_eq!(error.category, "budget");
}

/// A parameter never stands in for what is called, nor for what the renderer uses itself.
#[test]
fn parameters_and_internals_are_apart() {
    let params = json!({"symbol": "x", "len": "x", "expression_wrapper": "x", "tb_secrets": ["k"], "v": "a"});
    assert_eq!(render("{{ symbol(v) }}{{ len(v) }}{{ v }}", params.clone()).unwrap(), "`a`1'a'");
    assert_eq!(render("{{ tb_secret('k') }}", params).unwrap_err().category, "secret");
}

#[test]
fn secrets_are_bound_and_never_text() {
    let options = RenderOptions { secrets: vec!["k".to_owned()], ..RenderOptions::default() };
    let rendered = Template::parse("{{ tb_secret('k') }}").unwrap().render(&Params::new(), &options).unwrap();
    assert_eq!((&*rendered.sql, rendered.secrets), ("{k: String}", vec!["k".to_owned()]));
}

#[test]
fn templates_cross_threads() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug>() {}
    check::<Template>();
}

/// The kinds of ClickHouse's tokens in a text, literals and numbers without their content.
fn tokens(sql: &str) -> Vec<String> {
    let mut out = Vec::new();
    let chars: Vec<char> = sql.chars().collect();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        let begin = at;
        match c {
            '\'' | '"' | '`' => {
                at += 1;
                let mut closed = false;
                while let Some(inside) = chars.get(at) {
                    at += 1;
                    if inside == c {
                        closed = true;
                        break;
                    }
                    if *inside == '\\' {
                        at += 1;
                    }
                }
                out.push(format!("{c}{}", if closed { "" } else { "!" }));
            }
            '-' if chars.get(at + 1) == Some(&'-') => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
                out.push("comment".to_owned());
            }
            c if c.is_whitespace() => at += 1,
            c if c.is_alphanumeric() || *c == '_' => {
                while chars.get(at).is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.')) {
                    at += 1;
                }
                out.push(if c.is_ascii_digit() { "number".to_owned() } else { chars[begin..at].iter().collect() });
            }
            c => {
                at += 1;
                out.push(c.to_string());
            }
        }
    }
    out
}

#[test]
fn the_test_sees_a_literal_that_was_left() {
    assert_ne!(tokens("a = 'x' OR 1=1 --'"), tokens("a = 'x'"));
    assert_ne!(tokens("a = 'x\\'"), tokens("a = 'x'"));
}

/// Each place a value can stand in, with a harmless value for it. A value has no comma and no dot here: both
/// mean something to lists and columns.
const PLACES: &[(&str, &str)] = &[
    ("a = {{ x }}", "v"),
    ("a = {{ String(x) }} AND b", "v"),
    ("a = {{ String(y, x) }} AND b", "v"),
    ("a IN {{ Array(x) }} AND b", "v"),
    ("a IN {{ Array(x, 'String') }} AND {{ x }}", "v"),
    ("a IN {{ Array(y, 'String', x) }} b", "v"),
    ("a IN {{ Array(x, 'Symbol') }} b", "v"),
    ("a = {{ Int32(x) }} b", "5"),
    ("a = {{ UInt256(x) }} b", "5"),
    ("a = {{ Float64(x) }} b", "5"),
    ("a = {{ Int(x) }} b", "5"),
    ("a = {{ Boolean(x) }} b", "1"),
    ("a = {{ Date(x) }} b", "2024-01-01"),
    ("a = {{ DateTime(x) }} b", "2024-01-01 00:00:00"),
    ("a = {{ DateTime64(x) }} b", "2024-01-01 00:00:00.000"),
    ("SELECT {{ column(x) }} FROM b", "v"),
    ("SELECT {{ columns(x) }} FROM b", "v"),
    ("SELECT {{ columns(x, fn='max') }} FROM b", "a-b"),
    ("SELECT {{ columns('a', fn=x) }} FROM b", "v"),
    ("SELECT {{ symbol(x) }} FROM b", "v"),
    ("SELECT {{ symbol(x, '\"') }} FROM b", "v"),
    ("SELECT {{ symbol(x, quote='') }} FROM b", "a-b"),
    ("SELECT {{ symbol('v', x) }} FROM b", "v"),
    ("FROM {{ table(x) }} b", "a-b"),
    ("WHERE {{ sql_and(a=x, b__in=Array(x)) }} b", "v"),
    ("LIKE {{ sql_unescape(x, '%') }} b", "v"),
    ("LIKE {{ sql_unescape('a%', x) }} b", "v"),
    ("LIKE {{ sql_unescape(x, x) }} b", "v"),
    ("{{ max_threads(x) }} b", "v"),
    ("{{ backend_hint(x) }} b", "v"),
    ("{{ [x] }} b", "v"),
    ("{{ (x, 1) }} b", "v"),
    ("{{ {'k': x} }} b", "v"),
    ("{{ split_to_array(x) }} b", "v"),
    ("{{ 'a' + String(x) }} b", "v"),
    ("{{ Array(x) + 'a' }} b", "v"),
    ("{{ f'{x}{Array(x)}' }} b", "v"),
    ("{{ columns(x)[1:] }} b", "v"),
    ("{{ x.split('a')[0] }} b", "v"),
    ("{{ x.replace('a', 'b') }} b", "v"),
    ("{{ tb_secret(x, 'd') }} b", "v"),
    ("{% set s = '%s' % x %}{{ s }} b", "v"),
    ("{% try %}{{ int(x) + 'a' }}{% except Exception as e %}{{ e }}{% end %} b", "v"),
];

/// Plain names may stay bare where they are identifiers; everything quoted counts as one name there.
fn same_tokens(place: &str, rendered: &str, harmless: &str) -> bool {
    let bare =
        place.contains("table(") || place.contains("symbol('v'") || place.contains("quote=''") || place.contains("fn=");
    let normal = |sql: &str| -> Vec<String> {
        let list = tokens(sql).into_iter();
        if !bare {
            return list.collect();
        }
        list.map(|it| {
            if it == "`" || it == "\"" || it.chars().all(|c| c.is_alphanumeric() || "_.".contains(c)) {
                "name".to_owned()
            } else {
                it
            }
        })
        .collect()
    };
    normal(rendered) == normal(harmless)
}

/// A number may have a sign, which is a token of its own.
fn unsigned(sql: &str, harmless: &str) -> String {
    let is_number = harmless.parse::<f64>().is_ok();
    if is_number { sql.replacen("= -", "= ", 1) } else { sql.to_owned() }
}

fn hold(value: &str) {
    for (place, harmless) in PLACES {
        // Without the name of a function there is none.
        if value.is_empty() && place.contains("fn=x") {
            continue;
        }
        let Ok(rendered) = render(place, json!({"x": value})) else { continue };
        // A list as such, a dict's key, and quotes in reprs print in single quotes.
        let reference = render(place, json!({"x": harmless})).unwrap();
        let fits = same_tokens(place, &unsigned(&rendered, harmless), &reference);
        assert!(fits, "{place} with {value:?}\n{rendered}\n{reference}");
    }
}

#[test]
fn known_payloads_stay_in_their_literals() {
    for value in [
        "' OR 1=1 --",
        "\\' OR 1=1 --",
        "\\",
        "\\\\'",
        "a\n; DROP TABLE t",
        "` FROM system.users --",
        "\" OR \"\"=\"",
        "*/ union all select 1 /*",
        "{{ 1 }}",
        "{% if 1 %}",
        "\0'",
        "'||'",
        "%'",
        "4\nSELECT 1",
        "a\rb",
        "$$a$$",
        "\u{2028}x",
        "1) OR (1",
        "nan",
        "0x1",
        "`",
        "\"",
        "'",
        "a' 'b",
        "\\n'",
        "\\x27",
        "-3",
    ] {
        hold(&value.replace([',', '.'], ""));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_leaves_its_literal(value in "[^,.]{0,12}|['\"`\\\\%a \n;()-]{0,10}") {
        hold(&value);
    }

    #[test]
    fn no_text_makes_a_panic(text in "\\PC{0,60}", value in "\\PC{0,10}") {
        _ = render(&text, json!({"x": value}));
        _ = render(&format!("{{{{ {text} }}}}{{% if {text} %}}{{% end %}}"), json!({"x": value}));
    }

    #[test]
    fn no_program_makes_a_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..14), value in "\\PC{0,6}") {
        let text = words.join(" ");
        let budgets = Budgets { steps: 20_000, items: 2_000, ..Budgets::default() };
        for template in [format!("{{{{ {text} }}}}"), format!("{{% set v = {text} %}}"), format!("{{% if {text} %}}a{{% end %}}"), text] {
            for test_mode in [false, true] {
                let Ok(template) = Template::read(&template) else { continue };
                let options = RenderOptions { test_mode, budgets, ..RenderOptions::default() };
                _ = template.render(&given(json!({"x": value, "l": [1, "a", [2]], "d": {"a": 1}, "n": 7})), &options);
                _ = template.params();
            }
        }
    }
}

const WORDS: &[&str] = &[
    "x",
    "y",
    "l",
    "d",
    "n",
    "1",
    "-1",
    "2.5",
    "'a'",
    "'%s'",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "<<",
    "|",
    "==",
    "<",
    "in",
    "not",
    "is",
    "and",
    "or",
    "if",
    "else",
    "for",
    "lambda",
    "None",
    "String(",
    "Int32(",
    "Array(",
    "JSON(",
    "column(",
    "range(",
    "sorted(",
    "max(",
    "int(",
    "f'{x}'",
    "f'{n:>9}'",
    ".split(",
    ".join(",
    ".get(",
    ".append(",
    ".pop(",
    "[::-1]",
    "[1:]",
    "[0]",
    "{{",
    "}}",
    "{% if x %}",
    "{% end %}",
    "{% for i in l %}",
    "{% set v = x %}",
    "{{ x }}",
    "{% try %}",
    "{% except %}",
    "10**99",
    "1e308",
    "float('nan')",
];

/// Endpoints of the audit-log project in spirit: filters, paging, a computed list.
#[test]
fn rendering_an_endpoint_is_quick() {
    let text = "SELECT datetime, concat(payload_author, ' from ', name) AS message FROM enriched_events_mv WHERE 1\n\
        {% if defined(company_id) and company_id != '0' %}AND company_id = {{ String(company_id, description='A company') }}{% end %}\n\
        {% if defined(event_exact) and event_exact != 'All' %}AND event = {{ String(event_exact) }}{% end %}\n\
        {% if defined(start_date) and defined(end_date) %}AND datetime BETWEEN {{ DateTime(start_date) }} AND {{ DateTime(end_date) }}{% end %}\n\
        ORDER BY datetime DESC LIMIT {{ Int32(page_size, 100) }} OFFSET {{ Int32(page, 0) * Int32(page_size, 100) }}";
    let template = Template::parse(text).unwrap();
    let params = given(
        json!({"company_id": "1", "event_exact": "user_created", "start_date": "2024-01-01 00:00:00", "end_date": "2024-02-01 00:00:00", "page": "3"}),
    );
    let options = RenderOptions::default();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begin = Instant::now();
        for _ in 0..50 {
            assert!(template.render(&params, &options).unwrap().sql.contains("OFFSET 300"));
        }
        best = best.min(begin.elapsed() / 50);
    }
    println!("rendering an endpoint: {best:?} without optimisation: {}", cfg!(debug_assertions));
    let limit = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(best < Duration::from_micros(20 * limit), "{best:?}");
}
