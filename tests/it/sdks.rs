//! The other official and public clients as black boxes: each has a script in `tests/clients/` that uses it as
//! its documentation does and prints a line for each thing that passes. What passes is the README's table,
//! which is written by these tests (`BIRDHOUSE_BLESS=1 cargo test sdks::`) and compared by each run.

mod forward;

use super::clients::{Desk, TOKEN};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Client { client: String, version: String },
    Passes { passes: String },
}

/// Runs a script on a server of its own with the project of `tests/clients/`.
fn passes(program: &str, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/clients");
    let desk = Desk::empty();
    let pushed = Command::new(env!("CARGO_BIN_EXE_birdhouse"))
        .args(["push", "--host", &desk.host, "--token", TOKEN])
        .current_dir(folder.join("project"))
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    let program = if program.contains('/') { root.join(program) } else { PathBuf::from(program) };
    let output = Command::new(&program)
        .arg(folder.join(script))
        .current_dir(&folder)
        .env("TB_HOST", &desk.host)
        .env("TB_TOKEN", TOKEN)
        .env("CLICKHOUSE_URL", &desk.clickhouse)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&output.stderr));

    let mut rows: Vec<(String, String, Vec<String>)> = Vec::new();
    for line in said.lines().filter(|it| it.starts_with('{')) {
        match serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) {
            Line::Client { client, version } => rows.push((client, version, Vec::new())),
            Line::Passes { passes } => rows.last_mut().expect("a client is named first").2.push(passes),
        }
    }
    assert!(!rows.is_empty(), "{script} says nothing: {said}");
    for (client, version, passes) in rows {
        assert!(!passes.is_empty(), "{client} passes nothing: {said}");
        tell(&client, &version, &passes.join("; "));
    }
}

/// The README's row of a client says the same.
pub(crate) fn tell(client: &str, version: &str, passes: &str) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let head = format!("| `{client}` |");
    let row = format!("{head} {version} | {passes} |");
    let old = text.lines().find(|it| it.starts_with(&head));
    if std::env::var_os("BIRDHOUSE_BLESS").is_some() {
        let old = old.unwrap_or_else(|| panic!("give {client} a row in README.md: {head}"));
        fs::write(&path, text.replace(old, &row)).unwrap();
    } else {
        assert_eq!(old, Some(row.as_str()), "README.md: BIRDHOUSE_BLESS=1 cargo test --test it sdks:: writes it");
    }
}

#[test]
fn verdin_works() {
    passes(".venv-sdk/bin/python3", "verdin_client.py");
}

#[test]
fn the_python_sdk_works() {
    passes(".venv-sdk/bin/python3", "tinybird_python_sdk.py");
}

#[test]
fn the_mcp_server_works() {
    passes(".venv-sdk/bin/python3", "mcp_tinybird_client.py");
}

#[test]
fn the_pytest_plugin_works() {
    passes(".venv-sdk/bin/python3", "pytest_tinybird_report.py");
}

#[test]
fn mockingbird_works() {
    passes("node", "mockingbird.mjs");
}

#[test]
fn zod_bird_works() {
    passes("node", "zod_bird.mjs");
}

#[test]
fn charts_and_the_tracker_work_in_a_browser() {
    passes("node", "browser.mjs");
}

#[test]
fn clickhouse_connect_works() {
    passes(".venv-sdk/bin/python3", "clickhouse_connect_client.py");
}

#[test]
fn the_clickhouse_client_of_npm_works() {
    passes("node", "clickhouse_client.mjs");
}
