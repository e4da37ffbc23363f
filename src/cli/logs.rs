//! Log lines on standard error, for people or for machines.

use super::settings::{LogFormat, LogLevel, LogSettings};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// Begins to log; `usual` is the level when nobody asked for one.
pub(super) fn begin(settings: &LogSettings, usual: LogLevel) {
    let level = match settings.level.unwrap_or(usual) {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // What libraries say below a warning is for those who develop them.
    let others = if matches!(level, "error") { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},birdhouse={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let builder = builder.with_target(false).with_ansi(io::stderr().is_terminal());
    // A second start of logging in one process changes nothing.
    let _ = match settings.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}
