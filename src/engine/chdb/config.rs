//! The engine's generated configuration: its two files, and the arguments of its connections.
//!
//! In: [`EngineSettings`]. Out: files in the engine's directory and argument lists. They are written anew at
//! each start: nobody edits them.

use crate::engine::{
    EngineSettings, ReadLimits,
    slots::{READER_SLOTS, slot_role},
};
use crate::sql::statement::SESSION;
use std::{fmt::Write as _, fs, io, path::PathBuf, time::Duration};

/// The role that may do everything: DDL, inserts, our own reads. It never runs a user's text.
pub(super) const ADMIN_ROLE: &str = "adm";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Users' reads, behind a reader's role, read-only and limited; their answers are passed on as they come.
    Read,
    /// The same for answers that are held whole, and so are limited in size.
    Whole,
    /// Statements of ours, and the killing of others.
    Command,
    /// Inserts.
    Insert,
    /// Judging texts, which runs nothing.
    Parse,
}

impl Purpose {
    /// Whether it runs what users ask.
    pub(super) fn is_read(self) -> bool {
        matches!(self, Purpose::Read | Purpose::Whole)
    }
}

/// Writes the files; gives the path of the one to start with.
pub(super) fn write(settings: &EngineSettings) -> io::Result<PathBuf> {
    let directory = settings.directory.join("config");
    fs::create_dir_all(&directory)?;
    let users = directory.join("users.xml");
    fs::write(&users, users_xml())?;
    let config = directory.join("config.xml");
    let text = format!(
        "<clickhouse>
    <logger><level>none</level></logger>
    <users_config>{}</users_config>
    <max_server_memory_usage>{}</max_server_memory_usage>
    <background_pool_size>2</background_pool_size>
    <max_parts_cleaning_thread_pool_size>2</max_parts_cleaning_thread_pool_size>
    <mark_cache_size>268435456</mark_cache_size>
    <merge_tree>
        <old_parts_lifetime>60</old_parts_lifetime>
        <non_replicated_deduplication_window>0</non_replicated_deduplication_window>
    </merge_tree>
</clickhouse>
",
        escape(&users.to_string_lossy()),
        settings.max_server_memory_usage
    );
    fs::write(&config, text)?;
    Ok(config)
}

/// Where the engine keeps its tables.
pub(super) fn data_path(settings: &EngineSettings) -> PathBuf {
    settings.directory.join("data")
}

/// The arguments of a connection. The engine ignores names that it does not know, so what matters is read
/// back once connected.
pub(super) fn arguments(
    settings: &EngineSettings,
    config: &std::path::Path,
    purpose: Purpose,
    read: ReadLimits,
    tag: &str,
) -> Vec<String> {
    let mut res =
        vec![format!("--path={}", data_path(settings).display()), format!("--config-file={}", config.display())];
    let mut set = |name: &str, value: &str| res.push(format!("--{name}={value}"));
    for (name, value) in SESSION {
        set(name, value);
    }
    set("log_comment", tag);
    match purpose {
        Purpose::Read | Purpose::Whole => {
            for (name, value) in limits(settings, purpose, read) {
                set(name, &value);
            }
            // A block becomes a chunk, and several are under way in an answer that nobody reads.
            set("max_block_size", "16384");
            set("output_format_parallel_formatting", "0");
            // They count rows that filters hide. Those of our replies come from the engine's own figures.
            set("output_format_write_statistics", "0");
            set("timeout_overflow_mode", "throw");
            set("result_overflow_mode", "throw");
            set("readonly", "1");
        }
        Purpose::Command => set("mutations_sync", "1"),
        Purpose::Insert => {
            set("input_format_parallel_parsing", "0");
            set("max_threads", "2");
        }
        Purpose::Parse => set("max_query_size", &settings.max_query_size.to_string()),
    }
    res
}

/// The limits of a reading connection, which are read back once it is connected. An answer that is passed on
/// as it comes may be of any size.
pub(super) fn limits(settings: &EngineSettings, purpose: Purpose, read: ReadLimits) -> [(&'static str, String); 7] {
    let result = match (purpose, read.result_bytes) {
        (Purpose::Whole, 0) => settings.max_result_bytes,
        (Purpose::Whole, own) => own.min(settings.max_result_bytes),
        (_, own) => own,
    };
    let seconds = |it: Duration| it.as_secs().max(1).to_string();
    [
        ("max_execution_time", seconds(settings.max_answer_time.max(settings.max_execution_time))),
        ("max_memory_usage", read.memory_usage.to_string()),
        ("max_rows_to_read", read.rows_to_read.to_string()),
        ("max_bytes_to_read", read.bytes_to_read.to_string()),
        ("max_result_bytes", result.to_string()),
        ("max_query_size", settings.max_query_size.to_string()),
        ("max_threads", read.threads.to_string()),
    ]
}

fn users_xml() -> String {
    let mut roles = format!("<{ADMIN_ROLE}><grants><query>GRANT ALL ON *.*</query></grants></{ADMIN_ROLE}>\n");
    let mut grants = format!("<query>GRANT {ADMIN_ROLE}</query>\n");
    for slot in 0..READER_SLOTS {
        let role = slot_role(slot);
        // Without backquotes: within them the star would be a letter of the name.
        _ = writeln!(roles, "<{role}><grants><query>GRANT SELECT ON {role}_*.*</query></grants></{role}>");
        _ = writeln!(grants, "<query>GRANT {role}</query>");
    }
    let mut policies = String::new();
    for table in SYSTEM_TABLES {
        _ = writeln!(policies, "<{table}><filter>has(currentRoles(), '{ADMIN_ROLE}')</filter></{table}>");
    }
    format!(
        "<clickhouse>
<profiles><default/></profiles>
<quotas><default/></quotas>
<roles>
{roles}</roles>
<users><default>
<password></password>
<networks><ip>::/0</ip></networks>
<profile>default</profile>
<quota>default</quota>
<grants>
{grants}</grants>
<databases><system>
{policies}</system></databases>
</default></users>
</clickhouse>
"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The tables of `system` in this version of the engine that only the admin's role may see rows of: settings,
/// other callers' statements, paths. Those that table-less queries and `numbers()` read stay open.
const SYSTEM_TABLES: &[&str] = &[
    "aggregate_function_combinators",
    "asynchronous_inserts",
    "asynchronous_loader",
    "azure_queue_metadata_cache",
    "azure_queue_settings",
    "background_schedule_pool",
    "backups",
    "build_options",
    "certificates",
    "clusters",
    "codecs",
    "collations",
    "columns",
    "completions",
    "constraints",
    "contributors",
    "current_roles",
    "dashboards",
    "data_skipping_index_types",
    "data_skipping_indices",
    "data_type_families",
    "database_engines",
    "database_replicas",
    "databases",
    "detached_parts",
    "detached_tables",
    "dictionaries",
    "dictionary_layouts",
    "dictionary_sources",
    "dimensional_metrics",
    "disk_types",
    "disks",
    "distributed_ddl_queue",
    "distribution_queue",
    "dns_cache",
    "documentation",
    "dropped_tables",
    "dropped_tables_parts",
    "enabled_roles",
    "errors",
    "events",
    "fail_points",
    "filesystem_cache",
    "filesystem_cache_settings",
    "formats",
    "functions",
    "grants",
    "graphite_retentions",
    "histogram_metrics",
    "hypothetical_indexes",
    "iceberg_files",
    "iceberg_history",
    "jemalloc_bins",
    "jemalloc_profile_text",
    "jemalloc_stats",
    "kafka_consumers",
    "keywords",
    "licenses",
    "macros",
    "masking_policies",
    "merge_tree_settings",
    "merges",
    "metrics",
    "models",
    "moves",
    "mutations",
    "named_collections",
    "part_moves_between_shards",
    "parts",
    "parts_columns",
    "privileges",
    "processes",
    "projection_parts",
    "projection_parts_columns",
    "projections",
    "query_cache",
    "query_condition_cache",
    "quota_limits",
    "quota_usage",
    "quotas",
    "quotas_usage",
    "remote_data_paths",
    "replicas",
    "replicated_fetches",
    "replicated_merge_tree_settings",
    "replication_queue",
    "resources",
    "rocksdb",
    "role_grants",
    "roles",
    "row_policies",
    "s3_queue_settings",
    "s3queue_metadata_cache",
    "scheduler",
    "schema_inference_cache",
    "server_settings",
    "settings",
    "settings_changes",
    "settings_profile_elements",
    "settings_profiles",
    "stack_trace",
    "storage_policies",
    "symbols",
    "table_engines",
    "table_functions",
    "tables",
    "time_zones",
    "tokenizers",
    "unicode",
    "user_defined_functions",
    "user_directories",
    "user_processes",
    "users",
    "view_refreshes",
    "warnings",
    "workloads",
];
