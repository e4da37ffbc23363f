//! The settings that a request may carry.
//!
//! In: the fields of a request. Out: what they change about its answer, or why one is refused. What is on the list
//! either changes something here, or has the value that the engine has anyway. Everything else is refused with the
//! same words, whether ClickHouse has such a setting or not.

use super::error::{self, Exception};
use crate::{
    auth::{Access, Limits},
    server::params::Fields,
};

/// What settings change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) wait: bool,
    /// The reply may be packed as HTTP has it.
    pub(super) packs: bool,
    /// The reply comes in ClickHouse's own compressed blocks.
    pub(super) own_blocks_out: bool,
    /// And so does the body.
    pub(super) own_blocks_in: bool,
}

/// What a name is good for.
#[derive(Clone, Copy)]
enum Use {
    /// A parameter of the interface and no setting.
    Parameter,
    /// Read where it is needed, or without meaning here.
    Passed,
    /// It must have one of these values, which change nothing.
    Only(&'static [&'static str]),
    /// It narrows a limit; 0 leaves it as it is.
    Limit(fn(&mut Limits, u64)),
}

const OFF: &[&str] = &["0", "false", ""];
const ON: &[&str] = &["1", "true"];

/// A row is the engine's default where it can only be that.
const KNOWN: &[(&str, Use)] = &[
    // The interface's own parameters.
    ("query", Use::Parameter),
    ("database", Use::Parameter),
    ("default_format", Use::Parameter),
    ("user", Use::Parameter),
    ("password", Use::Parameter),
    ("quota_key", Use::Parameter),
    ("query_id", Use::Parameter),
    ("compress", Use::Parameter),
    ("decompress", Use::Parameter),
    ("stacktrace", Use::Parameter),
    ("buffer_size", Use::Parameter),
    ("wait_end_of_query", Use::Parameter),
    ("enable_http_compression", Use::Passed),
    ("http_zlib_compression_level", Use::Passed),
    ("network_compression_method", Use::Passed),
    ("send_progress_in_http_headers", Use::Passed),
    ("http_headers_progress_interval_ms", Use::Passed),
    ("http_response_buffer_size", Use::Passed),
    ("client_protocol_version", Use::Parameter),
    ("cancel_http_readonly_queries_on_client_close", Use::Passed),
    ("log_comment", Use::Passed),
    ("log_queries", Use::Passed),
    ("add_http_cors_header", Use::Passed),
    // Every request stands alone, so a session holds nothing.
    ("session_id", Use::Parameter),
    ("session_timeout", Use::Parameter),
    ("session_check", Use::Only(OFF)),
    ("close_session", Use::Parameter),
    // Limits.
    ("max_execution_time", Use::Limit(|it, value| narrow32(&mut it.max_execution_time, value))),
    ("max_threads", Use::Limit(|it, value| narrow32(&mut it.max_threads, value))),
    ("max_memory_usage", Use::Limit(|it, value| it.max_memory_usage = Some(value))),
    ("max_rows_to_read", Use::Limit(|it, value| it.max_rows_to_read = Some(value))),
    ("max_bytes_to_read", Use::Limit(|it, value| it.max_bytes_to_read = Some(value))),
    ("max_result_bytes", Use::Limit(|it, value| it.max_result_bytes = Some(value))),
    // What clients say to be sure, and what is so anyway.
    ("readonly", Use::Only(&["0", "1", "2"])),
    ("output_format_json_quote_64bit_integers", Use::Only(OFF)),
    ("output_format_json_quote_64bit_floats", Use::Only(OFF)),
    ("output_format_json_quote_denormals", Use::Only(OFF)),
    ("output_format_native_encode_types_in_binary_format", Use::Only(OFF)),
    ("output_format_binary_encode_types_in_binary_format", Use::Only(OFF)),
    ("output_format_parquet_string_as_string", Use::Only(ON)),
    ("output_format_arrow_string_as_string", Use::Only(ON)),
    ("date_time_input_format", Use::Only(&["best_effort", "basic"])),
    ("date_time_output_format", Use::Only(&["simple"])),
    ("session_timezone", Use::Only(&["", "UTC", "Etc/UTC"])),
    ("join_use_nulls", Use::Only(OFF)),
    ("http_write_exception_in_output_format", Use::Only(OFF)),
    ("async_insert", Use::Passed),
    ("wait_for_async_insert", Use::Passed),
    ("insert_deduplicate", Use::Passed),
    ("insert_deduplication_token", Use::Passed),
    ("input_format_values_interpret_expressions", Use::Only(OFF)),
    ("input_format_skip_unknown_fields", Use::Only(OFF)),
    ("input_format_parallel_parsing", Use::Passed),
    ("max_insert_block_size", Use::Passed),
    ("insert_quorum", Use::Only(OFF)),
    ("http_receive_timeout", Use::Passed),
    ("http_send_timeout", Use::Passed),
    ("describe_include_subcolumns", Use::Only(OFF)),
    ("describe_compact_output", Use::Only(OFF)),
    ("allow_experimental_json_type", Use::Passed),
];

fn narrow32(limit: &mut Option<u32>, value: u64) {
    *limit = Some(u32::try_from(value).unwrap_or(u32::MAX));
}

/// The settings that this door knows: name, value, whether it has to be so.
pub(super) fn known() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    KNOWN.iter().filter_map(|(name, used)| match used {
        Use::Parameter => None,
        Use::Passed | Use::Limit(_) => Some((*name, "0", false)),
        Use::Only(values) => Some((*name, values.first().copied().unwrap_or_default(), true)),
    })
}

pub(super) fn read(fields: &Fields, access: &Access) -> Result<Settings, Exception> {
    let mut limits = Limits::default();
    for name in fields.names().filter(|it| !it.starts_with("param_")) {
        let value = fields.text(name).unwrap_or_default();
        let known = KNOWN.iter().find(|(it, _)| *it == name);
        match known.map(|(_, it)| *it) {
            Some(Use::Parameter | Use::Passed) => (),
            Some(Use::Only(values)) if values.contains(&value.as_str()) => (),
            Some(Use::Only(_)) => {
                let message = format!("Setting {name} cannot be changed here: only {} is possible", shown(known));
                return Err(Exception::new(error::SETTING_CONSTRAINT, message));
            }
            Some(Use::Limit(narrow)) => {
                let bad = || Exception::new(error::SETTING_CONSTRAINT, format!("Setting {name} is not a number"));
                let value = number(&value).ok_or_else(bad)?;
                if value > 0 {
                    narrow(&mut limits, value);
                }
            }
            None => {
                let message = format!("Setting {name} is unknown, or may not be set here");
                return Err(Exception::new(error::UNKNOWN_SETTING, message));
            }
        }
    }
    // A limit that is wider than the token's changes nothing; the server's own hold in any case. What a read costs
    // tells of rows that are hidden from its caller: where it ends is for whoever made the token to say.
    if access.sees_in_part() {
        limits = Limits { max_memory_usage: None, max_rows_to_read: None, max_bytes_to_read: None, ..limits };
    }
    let packs = fields.text("enable_http_compression").is_none_or(|it| !OFF.contains(&it.as_str()));
    Ok(Settings {
        limits,
        wait: fields.flag("wait_end_of_query"),
        packs,
        own_blocks_out: fields.flag("compress"),
        own_blocks_in: fields.flag("decompress"),
    })
}

fn shown(known: Option<&(&str, Use)>) -> String {
    match known {
        Some((_, Use::Only(values))) => values.iter().find(|it| !it.is_empty()).unwrap_or(&"").to_string(),
        _ => String::new(),
    }
}

/// A whole number; of a fraction, the next larger one.
fn number(text: &str) -> Option<u64> {
    match text.parse::<u64>() {
        Ok(number) => Some(number),
        Err(_) => text.parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0).map(|it| it.ceil() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Settings, Exception> {
        super::read(&Fields::of_query(Some(query)), &Access::owner())
    }

    #[test]
    fn names_are_known_once() {
        let names: std::collections::HashSet<_> = KNOWN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), KNOWN.len());
    }

    #[test]
    fn settings_are_on_the_list_or_refused_in_the_same_words() {
        let settings = read("query=select+1&max_execution_time=2.5&compress=1&param_x=3&max_threads=0").unwrap();
        let limits = Limits { max_execution_time: Some(3), ..Limits::default() };
        assert_eq!((settings.limits, settings.own_blocks_out, settings.packs), (limits, true, true));
        assert!(!read("enable_http_compression=0").unwrap().packs);
        let refused = |query| read(query).unwrap_err().text("").replace("allow_ddl", "x").replace("nonsense", "x");
        assert_eq!(refused("allow_ddl=1"), refused("nonsense=1"));
        assert!(read("readonly=0").is_ok() && read("join_use_nulls=1").is_err() && read("max_threads=x").is_err());
    }
}
