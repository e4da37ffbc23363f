//! The one test binary: one file per boundary.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing, in its helpers too")]

mod attack;
mod classic;
mod cli;
mod clients;
mod cluster;
mod datafile;
mod datafiles;
mod deploy;
mod door;
mod engine;
mod events;
mod faults;
mod feeds;
mod files;
mod fits;
mod forms;
mod http;
mod ingest;
mod kafka;
mod language;
mod limits;
mod lints;
mod memory;
mod once;
mod oracle;
mod places;
mod plan;
mod remote;
mod rls;
mod schemathesis;
mod sdks;
mod security;
mod service;
mod sharing;
mod soak;
mod sql;
mod tags;
mod template;
mod template_safety;
mod template_served;
mod tidy;
mod tokens;
mod vectors;
mod walls;

/// Whether the long forms run.
fn torture() -> bool {
    std::env::var_os("BIRDHOUSE_TORTURE").is_some()
}

/// What a process has in memory, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Runs before `main`, which is the test harness's: what the binary does at the start of its own. It also
/// closes the shared engine when the process exits.
#[expect(unsafe_code, reason = "the harness has no hook at its start")]
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static START: extern "C" fn() = {
    extern "C" fn start() {
        birdhouse::engine::prepare_process();
    }
    start
};
