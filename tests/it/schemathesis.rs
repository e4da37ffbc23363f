//! The whole API as a stranger with its OpenAPI document would try it: schemathesis makes requests that fit the
//! document and requests that do not. Whatever comes, there is an answer, and it is no failure of the server's.

use super::clients::{Desk, TOKEN};
use std::{path::Path, process::Command};

#[test]
fn whatever_fits_the_document_or_not_is_answered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let desk = Desk::empty();
    let pushed = Command::new(env!("CARGO_BIN_EXE_birdhouse"))
        .args(["push", "--host", &desk.host, "--token", TOKEN])
        .current_dir(root.join("tests/clients/project"))
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    // It is a document of its kind in the first place.
    let script = "import json, sys, urllib.request\nfrom openapi_spec_validator import validate\n\
                  validate(json.load(urllib.request.urlopen(sys.argv[1])))";
    let validated = Command::new(root.join(".venv/bin/python3"))
        .args(["-c", script, &format!("{}/openapi.json", desk.host)])
        .env("no_proxy", "localhost")
        .output()
        .unwrap();
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));

    let seconds = std::env::var_os("SCHEMATHESIS_SECONDS").unwrap_or_else(|| "20".into());
    let folder = tempfile::tempdir().unwrap();
    let program = root.join(".venv/bin/schemathesis");
    let output = Command::new(&program)
        .args(["--no-color", "run", &format!("{}/openapi.json", desk.host), "--url", &desk.host])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--max-time"])
        .arg(&seconds)
        .args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance,ignored_auth"])
        .args(["--max-response-time", "60", "--continue-on-failure", "--generation-database", "none"])
        .current_dir(folder.path())
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make setup` installs it", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("generated"), "{said}");
}
