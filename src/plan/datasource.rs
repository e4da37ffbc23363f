//! What changes about data sources. Rows that are stored are never lost or rewritten by a plan.

use super::{Action, Steps};
use crate::{
    name::{ColumnName, ResourceName},
    project::{Column, ColumnDefault, Datasource, Index, KafkaSource, Project, TableEngine},
    sql::UserSql,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const LOST: &str = "its stored rows would be lost";
const REWRITTEN: &str = "stored rows would be rewritten";

pub(super) fn diff(steps: &mut Steps, current: &Project, wanted: &Project, drops: &BTreeSet<ResourceName>) {
    for datasource in wanted.datasources.values() {
        match current.datasource(datasource.name.as_str()) {
            None => steps.push(Action::CreateTable { datasource: datasource.clone() }, &datasource.place),
            Some(previous) => change(steps, previous, datasource),
        }
    }
    for datasource in current.datasources.values() {
        if wanted.datasource(datasource.name.as_str()).is_some() {
            continue;
        }
        if drops.contains(&datasource.name) {
            steps.push(Action::DropTable { datasource: datasource.clone() }, &datasource.place);
        } else {
            steps.refuse(&datasource.name, "is not in the project any more".to_owned(), LOST, &datasource.place);
        }
    }
}

fn change(steps: &mut Steps, previous: &Datasource, datasource: &Arc<Datasource>) {
    columns(steps, previous, datasource);
    let name = &datasource.name;
    for (what, reason) in engine(&previous.engine, &datasource.engine) {
        steps.refuse(name, what, reason, &datasource.place);
    }
    if !same_indexes(&previous.indexes, &datasource.indexes) {
        steps.refuse(name, "changes its INDEXES".to_owned(), REWRITTEN, &datasource.place);
    }
    let what = ways_in(previous, datasource);
    if !what.is_empty() {
        steps.push(Action::ChangeDatasource { datasource: datasource.clone(), what }, &datasource.place);
    } else if (&previous.description, &previous.tags) != (&datasource.description, &datasource.tags) {
        steps.push(Action::Describe { resource: name.clone() }, &datasource.place);
    }
}

fn columns(steps: &mut Steps, previous: &Datasource, datasource: &Arc<Datasource>) {
    let known: BTreeMap<&ColumnName, &Column> = previous.columns.iter().map(|it| (&it.name, it)).collect();
    let mut after: Option<&ColumnName> = None;
    for column in &datasource.columns {
        match known.get(&column.name) {
            None => {
                let (datasource, column, after) = (datasource.clone(), column.clone(), after.cloned());
                let place = column.place.clone();
                steps.push(Action::AddColumn { datasource, column, after }, &place);
            }
            Some(previous) => {
                for (what, reason) in column_changes(previous, column) {
                    steps.refuse(&datasource.name, what, reason, &column.place);
                }
            }
        }
        after = Some(&column.name);
    }
    for column in &previous.columns {
        if !datasource.columns.iter().any(|it| it.name == column.name) {
            let what = format!("loses its column `{}`", column.name);
            steps.refuse(&datasource.name, what, "what is stored in it would be lost", &datasource.place);
        }
    }
}

fn column_changes(previous: &Column, column: &Column) -> Vec<(String, &'static str)> {
    let name = &column.name;
    let mut res = Vec::new();
    if previous.column_type != column.column_type {
        let (from, to) = (&previous.column_type, &column.column_type);
        res.push((format!("changes the type of its column `{name}` from {from} to {to}"), REWRITTEN));
    }
    if default(previous) != default(column) {
        res.push((format!("changes the default of its column `{name}`"), "stored rows may depend on it"));
    }
    if text(previous.codec.as_ref()) != text(column.codec.as_ref()) {
        res.push((format!("changes the CODEC of its column `{name}`"), REWRITTEN));
    }
    res
}

fn default(column: &Column) -> Option<(bool, &str)> {
    column.default.as_ref().map(|it| match it {
        ColumnDefault::Default(expression) => (false, expression.text().trim()),
        ColumnDefault::Materialized(expression) => (true, expression.text().trim()),
    })
}

fn engine(previous: &TableEngine, engine: &TableEngine) -> Vec<(String, &'static str)> {
    let mut res = Vec::new();
    if previous.family != engine.family {
        let (from, to) = (previous.family, engine.family);
        res.push((format!("changes its ENGINE from {from:?} to {to:?}"), REWRITTEN));
    }
    let parameters = |it: &TableEngine| it.parameters.iter().map(|it| it.text().to_owned()).collect::<Vec<_>>();
    if parameters(previous) != parameters(engine) {
        res.push(("changes the columns that its ENGINE merges by".to_owned(), REWRITTEN));
    }
    for (option, from, to, reason) in [
        ("ENGINE_PARTITION_KEY", &previous.partition_key, &engine.partition_key, REWRITTEN),
        ("ENGINE_SORTING_KEY", &previous.sorting_key, &engine.sorting_key, REWRITTEN),
        ("ENGINE_PRIMARY_KEY", &previous.primary_key, &engine.primary_key, REWRITTEN),
        ("ENGINE_SAMPLING_KEY", &previous.sampling_key, &engine.sampling_key, REWRITTEN),
        ("ENGINE_TTL", &previous.ttl, &engine.ttl, "stored rows could be deleted by it"),
        ("ENGINE_SETTINGS", &previous.settings, &engine.settings, "a table keeps the settings it was made with"),
    ] {
        if text(from.as_ref()) != text(to.as_ref()) {
            res.push((format!("changes its {option}"), reason));
        }
    }
    res
}

fn text(expression: Option<&UserSql>) -> Option<&str> {
    expression.map(|it| it.text().trim())
}

fn same_indexes(previous: &[Index], indexes: &[Index]) -> bool {
    let key =
        |it: &Index| (it.name.clone(), it.expression.text().to_owned(), it.kind.text().to_owned(), it.granularity);
    previous.iter().map(key).eq(indexes.iter().map(key))
}

/// What is different about how rows come in. Columns that are new have their own steps.
fn ways_in(previous: &Datasource, datasource: &Datasource) -> Vec<String> {
    let mut res = Vec::new();
    for column in &datasource.columns {
        let Some(previous) = previous.columns.iter().find(|it| it.name == column.name) else { continue };
        if previous.jsonpath != column.jsonpath {
            let path = column.jsonpath.as_ref().map_or("no jsonpath", |it| it.text.as_str());
            res.push(format!("column `{}` is read from {path}", column.name));
        }
    }
    match (&previous.kafka, &datasource.kafka) {
        (None, Some(kafka)) => res.push(format!("is fed from the Kafka topic `{}`", kafka.topic)),
        (Some(kafka), None) => res.push(format!("is not fed from the Kafka topic `{}` any more", kafka.topic)),
        (Some(from), Some(to)) => {
            if from.topic != to.topic {
                res.push(format!("is fed from the Kafka topic `{}` instead of `{}`", to.topic, from.topic));
            }
            if from.connection != to.connection {
                res.push(format!("reads Kafka through `{}` instead of `{}`", to.connection, from.connection));
            }
            if from.group_id != to.group_id {
                res.push(format!("commits to the Kafka group `{}` instead of `{}`", to.group_id, from.group_id));
            }
            let rest = |it: &KafkaSource| (it.offset_reset, it.store_raw_value, it.store_headers);
            let formats = |it: &KafkaSource| (it.key_format, it.value_format);
            if formats(from) != formats(to) {
                res.push("reads keys or values of Kafka messages in another format".to_owned());
            }
            if rest(from) != rest(to) {
                res.push("changes what it keeps of Kafka messages, or where it begins".to_owned());
            }
        }
        (None, None) => {}
    }
    let names = |it: &Datasource| it.columns.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let (mut before, mut now) = (names(previous), names(datasource));
    before.retain(|it| now.contains(it));
    now.retain(|it| before.contains(it));
    if before != now {
        res.push("files without a header line have their columns in another order".to_owned());
    }
    res
}
