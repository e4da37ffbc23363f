//! The commands of the two generations: which file kinds know which.

use super::{Dialect, Kind};

/// A command that begins a line.
struct Command {
    name: &'static str,
    /// Classic knows it. It has one table for all kinds of files.
    classic: bool,
    /// The kinds in which Forward knows it: `d`, `p`, `c`.
    forward: &'static str,
    /// The kinds in which it means something to either generation, and `t` for `.token` files.
    auto: &'static str,
}

const fn both(name: &'static str, forward: &'static str, auto: &'static str) -> Command {
    Command { name, classic: true, forward, auto }
}

const fn forward(name: &'static str, kinds: &'static str) -> Command {
    Command { name, classic: false, forward: kinds, auto: kinds }
}

const COMMANDS: &[Command] = &[
    both("schema", "d", "d"),
    both("description", "dpc", "dpct"),
    both("token", "dp", "dp"),
    both("tags", "dp", "dp"),
    both("version", "dp", "dp"),
    both("include", "dpc", "dp"),
    both("shared_with", "d", "d"),
    both("indexes", "d", "d"),
    both("indices", "", "d"),
    both("maintainer", "", "dp"),
    both("source", "d", "d"),
    both("from", "", "d"),
    both("test", "", "d"),
    both("settings", "", "d"),
    both("engine", "d", "dp"),
    both("engine_partition_key", "d", "dp"),
    both("engine_sorting_key", "d", "dp"),
    both("engine_primary_key", "d", "dp"),
    both("engine_sampling_key", "d", "dp"),
    both("engine_ttl", "d", "dp"),
    both("engine_settings", "d", "dp"),
    both("engine_ver", "d", "dp"),
    both("engine_is_deleted", "d", "dp"),
    both("engine_columns", "d", "dp"),
    both("engine_sign", "d", "dp"),
    both("engine_version", "d", "dp"),
    both("partition_key", "d", "d"),
    both("sorting_key", "d", "d"),
    both("primary_key", "d", "d"),
    both("sampling_key", "d", "d"),
    both("ttl", "d", "d"),
    both("node", "p", "dp"),
    both("scope", "p", "pt"),
    both("sql", "p", "dp"),
    both("type", "pc", "pc"),
    both("datasource", "p", "p"),
    both("target_datasource", "p", "p"),
    both("copy_schedule", "p", "p"),
    both("copy_mode", "p", "p"),
    both("mode", "p", "p"),
    both("filter", "p", "pt"),
    both("resource", "", "t"),
    both("import_service", "d", "d"),
    both("import_connection_name", "d", "d"),
    both("import_bucket_uri", "d", "d"),
    both("import_schedule", "d", "d"),
    both("import_strategy", "d", "d"),
    both("import_format", "d", "d"),
    both("import_from_timestamp", "d", "d"),
    both("import_table_arn", "d", "d"),
    both("import_export_bucket", "d", "d"),
    both("import_query", "d", "d"),
    both("import_external_datasource", "d", "d"),
    both("kafka_connection_name", "d", "dp"),
    both("kafka_topic", "d", "dp"),
    both("kafka_group_id", "d", "d"),
    both("kafka_auto_offset_reset", "d", "d"),
    both("kafka_store_raw_value", "d", "d"),
    both("kafka_store_headers", "d", "d"),
    both("kafka_store_binary_headers", "d", "d"),
    both("kafka_key_format", "d", "d"),
    both("kafka_value_format", "d", "d"),
    both("kafka_target_partitions", "d", "d"),
    both("kafka_bootstrap_servers", "c", "dc"),
    both("kafka_key", "c", "dc"),
    both("kafka_secret", "c", "dc"),
    both("kafka_schema_registry_url", "c", "dc"),
    both("kafka_ssl_ca_pem", "c", "dc"),
    both("kafka_sasl_mechanism", "c", "dc"),
    both("kafka_sasl_oauthbearer_method", "c", "dc"),
    both("kafka_sasl_oauthbearer_token_url", "c", "dc"),
    both("kafka_sasl_oauthbearer_scope", "c", "dc"),
    both("kafka_sasl_oauthbearer_aws_region", "c", "dc"),
    both("kafka_sasl_oauthbearer_aws_role_arn", "c", "dc"),
    both("kafka_sasl_oauthbearer_aws_external_id", "c", "dc"),
    both("kafka_key_avro_deserialization", "c", "dc"),
    both("export_service", "dp", "dp"),
    both("export_connection_name", "p", "p"),
    both("export_schedule", "p", "p"),
    both("export_bucket_uri", "p", "p"),
    both("export_file_template", "p", "p"),
    both("export_format", "p", "p"),
    both("export_compression", "p", "p"),
    both("export_strategy", "p", "p"),
    both("export_write_strategy", "p", "p"),
    both("export_kafka_topic", "p", "p"),
    forward("kafka_security_protocol", "c"),
    forward("forward_query", "d"),
    forward("backfill", "d"),
    forward("pg_connection_name", "d"),
    forward("pg_table", "d"),
    forward("on_demand_compute", "p"),
    forward("deployment_method", "p"),
    forward("s3_region", "c"),
    forward("s3_arn", "c"),
    forward("s3_access_key", "c"),
    forward("s3_secret", "c"),
    forward("gcs_service_account_credentials_json", "c"),
    forward("gcs_hmac_access_id", "c"),
    forward("gcs_hmac_secret", "c"),
    forward("gcs_access_id", "c"),
    forward("gcs_secret", "c"),
    forward("dynamodb_arn", "c"),
    forward("dynamodb_region", "c"),
    forward("pg_host", "c"),
    forward("pg_port", "c"),
    forward("pg_database", "c"),
    forward("pg_user", "c"),
    forward("pg_password", "c"),
    forward("pg_ssl_mode", "c"),
];

/// Whether `name`, in lower case, is a command of a file of this kind.
pub(super) fn is_command(name: &str, kind: Kind, dialect: Dialect) -> bool {
    COMMANDS.iter().find(|it| it.name == name).is_some_and(|it| it.is_known(kind, dialect))
}

/// The commands of a file of this kind.
pub(super) fn names(kind: Kind, dialect: Dialect) -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter(move |it| it.is_known(kind, dialect)).map(|it| it.name)
}

impl Command {
    fn is_known(&self, kind: Kind, dialect: Dialect) -> bool {
        let letter = match kind {
            Kind::Datasource => 'd',
            Kind::Pipe | Kind::Include => 'p',
            Kind::Connection => 'c',
            Kind::Token => 't',
        };
        match (dialect, kind) {
            // Classic has no connection files, Forward no token files: those are read as the other does.
            (Dialect::Classic, Kind::Connection) => self.forward.contains(letter),
            (Dialect::Classic, _) => self.classic,
            (Dialect::Forward, Kind::Token) | (Dialect::Auto, _) => self.auto.contains(letter),
            (Dialect::Forward, _) => self.forward.contains(letter),
        }
    }
}

/// Where a command of some other kind of file belongs: for a hint.
pub(super) fn home(name: &str) -> Option<&'static str> {
    let command = COMMANDS.iter().find(|it| it.name == name)?;
    Some(match command.auto.chars().next()? {
        'd' => ".datasource",
        'p' => ".pipe",
        'c' => ".connection",
        _ => ".token",
    })
}
