//! SHARED_WITH lines, carried out by `birdhouse push` as the classic client does it.

use super::cli::{Folder, Server};
use serde_json::Value;
use std::process::Output;
use tokio::task::block_in_place;

const ADMIN: &str = "p.admin-of-the-shares";
const BIRDS: &str = "datasources/birds.datasource";

fn birds(shared_with: &[&str]) -> String {
    let lines: String = shared_with.iter().map(|it| format!("    {it}\n")).collect();
    let head = if lines.is_empty() { lines } else { format!("SHARED_WITH >\n{lines}\n") };
    format!("{head}SCHEMA >\n    `name` String\n")
}

struct Host {
    http: reqwest::Client,
    url: String,
    folder: Folder,
}

impl Host {
    async fn workspace(&self, name: &str) -> String {
        let request = self.http.post(format!("{}/v0/workspaces", self.url)).bearer_auth(ADMIN).form(&[("name", name)]);
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Whether the data source is read with a token of another workspace.
    async fn reads(&self, token: &str) -> bool {
        let url = format!("{}/v0/sql?q=SELECT%20count()%20FROM%20birdhouse.birds", self.url);
        self.http.get(url).bearer_auth(token).send().await.unwrap().status().is_success()
    }

    fn push(&self, more: &[&str], token: &str) -> (bool, String) {
        let arguments = [&["push", "--host", &self.url, "--token", token], more].concat();
        let output = block_in_place(|| self.folder.command(&arguments).output()).unwrap();
        let Output { stdout, stderr, .. } = &output;
        let words = format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        (output.status.success(), words)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_shares_what_its_files_say() {
    let folder = Folder::new();
    let mut command = folder.command(&["serve", "--port", "0"]);
    command.env("BIRDHOUSE_ADMIN_TOKEN", ADMIN);
    let server = block_in_place(|| Server::start(command));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let host = Host { http, url: server.host(), folder: Folder::new() };

    // A workspace that is not there: the line says so, and nothing is deployed.
    host.folder.file(BIRDS, &birds(&["forest", "meadw"]));
    let [forest, meadow] = [host.workspace("forest").await, host.workspace("meadow").await];
    let (done, words) = host.push(&[], ADMIN);
    assert!(!done && words.contains("datasources/birds.datasource:3:5"), "{words}");
    assert!(words.contains("there is no workspace `meadw`, or this token may not share with it"), "{words}");
    assert!(words.contains("there is `meadow`"), "{words}");
    let (status, _) = block_in_place(|| server.get("/v0/datasources/birds", ADMIN));
    assert_eq!((status, host.reads(&forest).await), (404, false));

    host.folder.file(BIRDS, &birds(&["forest", "meadow"]));
    let (done, words) = host.push(&["--dry-run"], ADMIN);
    assert!(done && words.contains("+ data source birds is shared with forest\n"), "{words}");
    assert!(host.push(&[], ADMIN).0);
    assert_eq!((host.reads(&forest).await, host.reads(&meadow).await), (true, true));
    let (done, words) = host.push(&[], ADMIN);
    assert!(done && words.contains("unchanged"), "{words}");

    // A token that opens one workspace shares with no other: what is so already needs nothing of it.
    let tokens = block_in_place(|| server.get("/v0/tokens", &forest)).1;
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    let own = tokens["tokens"][0]["token"].as_str().unwrap();
    let other = Host { folder: Folder::new(), http: host.http.clone(), url: host.url.clone() };
    other.folder.file(BIRDS, &birds(&["meadow"]));
    let (done, words) = other.push(&[], own);
    assert!(!done && words.contains("datasources/birds.datasource:2:5"), "{words}");
    assert!(words.contains("there is no workspace `meadow`, or this token may not share with it"), "{words}");
    other.folder.file(BIRDS, &birds(&["forest"]));
    let (done, words) = other.push(&[], own);
    assert!(!done && words.contains("`birds` is in the workspace `forest` already"), "{words}");

    // A line that is gone is taken back, and the last one too.
    host.folder.file(BIRDS, &birds(&["meadow"]));
    let (done, words) = host.push(&[], ADMIN);
    assert!(done && words.contains("- data source birds is shared with forest no more\n"), "{words}");
    assert_eq!((host.reads(&forest).await, host.reads(&meadow).await), (false, true));
    host.folder.file(BIRDS, &birds(&[]));
    assert!(host.push(&[], ADMIN).0);
    assert!(!host.reads(&meadow).await);

    // What was shared without a line stays as it is.
    let share = host.http.post(format!("{}/v0/datasources/birds/share", host.url)).bearer_auth(ADMIN);
    let share = share.form(&[("destination_workspace_name", "forest")]).send().await.unwrap();
    assert!(share.status().is_success());
    assert!(host.push(&[], ADMIN).0);
    assert!(host.reads(&forest).await);
    block_in_place(|| assert_eq!(server.stop(), Some(0)));
}
