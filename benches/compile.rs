//! What compiling costs: a node of 2 KB with ten references, under a token with filters, the engine's verdict left
//! out, which is remembered by text.

use birdhouse::{
    auth::{Access, Limits, Scope, Token},
    datafile::Context,
    diagnostic::Source,
    name::Namespace,
    project::resolve,
    query::{self, Request},
};
use std::{hint::black_box, time::Instant};

/// Names, microseconds.
pub(crate) fn figures() -> Vec<(String, f64)> {
    let columns = "SCHEMA >\n    `company_id` Int16,\n    `id` UInt32,\n    `item` String,\n    `amount` UInt64\n\n\
                   ENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n";
    let mut sources = Vec::new();
    for index in 0..10 {
        sources.push(Source::new(format!("datasources/source_{index}.datasource"), columns.to_owned()));
    }
    let (project, _) = resolve(&sources, &Context::default());
    let text = text();
    let scopes = |filter: &str| {
        let scopes = (0..10).map(|it| Scope::parse(&format!("DATASOURCES:READ:source_{it}{filter}")).unwrap());
        Access::of(&Token {
            id: "1".to_owned(),
            name: "bench".to_owned(),
            description: String::new(),
            origin: "C".to_owned(),
            scopes: scopes.collect(),
            limits: Limits::default(),
        })
    };
    let namespace = Namespace::new("w00_0123456789abcdefghij");
    let request = Request::sql(text.as_str());
    let measure = |access: &Access| {
        let once = || query::compile(&project, &namespace, access, &request).unwrap();
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            let begun = Instant::now();
            for _ in 0..50 {
                black_box(once());
            }
            best = best.min(begun.elapsed().as_secs_f64() * 1e6 / 50.0);
        }
        best
    };
    let name = |what: &str| format!("compile {} bytes, 10 references, {what}", text.len());
    vec![
        (name("without filters"), measure(&scopes(""))),
        (name("a filter on each"), measure(&scopes(":company_id = 1"))),
    ]
}

fn text() -> String {
    let mut text =
        String::from("SELECT s0.id AS id, sum(s0.amount) AS total, uniq(s1.item) AS items\nFROM source_0 AS s0\n");
    for index in 1..10 {
        text.push_str(&format!(
            "LEFT JOIN (SELECT id, item, sumIf(amount, amount > {index} AND item != 'nothing') AS amount_{index}, max(company_id) \
             AS company_{index} FROM source_{index} WHERE item LIKE '%x%' GROUP BY id, item) AS s{index} ON s0.id = s{index}.id\n"
        ));
    }
    text.push_str("WHERE s0.amount > 0 GROUP BY id ORDER BY total DESC LIMIT 100");
    text
}
