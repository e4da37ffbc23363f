//! `.tinyb`: which server this folder's project lives on, and the token for it.
//!
//! In and out: the JSON file that Tinybird's clients keep in a project's folder. Fields that are not ours stay
//! as they are. The file holds a token, so nobody but its owner may read it.

use super::fault::user;
use anyhow::Context;
use serde_json::{Map, Value};
use std::{fmt, fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

/// The address of a server: scheme, name and port, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(String);

#[derive(Default)]
pub(super) struct Tinyb(Map<String, Value>);

impl Host {
    pub(super) fn new(text: &str) -> Result<Host, String> {
        let (scheme, address) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let address = address.trim_end_matches('/');
        if !["http", "https"].contains(&scheme) || address.is_empty() {
            return Err(format!("`{text}` is no address of a server, like http://localhost:7181"));
        }
        if address.contains('@') {
            return Err("an address must not hold a name and password; give the token by --token".to_owned());
        }
        Ok(Host(format!("{scheme}://{address}")))
    }

    pub(super) fn local(port: u16) -> Host {
        Host(format!("http://localhost:{port}"))
    }

    /// This machine, whatever the port.
    pub(super) fn is_local(&self) -> bool {
        ["http://localhost", "http://127.0.0.1", "http://[::1]"].iter().any(|local| {
            let rest = self.0.strip_prefix(local);
            rest.is_some_and(|it| it.is_empty() || it.starts_with(':'))
        })
    }

    /// TLS is spoken with it.
    pub(super) fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tinyb {
    /// The file as it is; an absent one is empty.
    pub(super) fn read(path: &Path) -> anyhow::Result<Tinyb> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Tinyb::default()),
            Err(error) => return Err(user(format!("{} cannot be read: {error}", path.display()))),
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(fields)) => Ok(Tinyb(fields)),
            Ok(_) => Err(user(format!("{} is no JSON object; `birdhouse auth` writes one", path.display()))),
            Err(error) => Err(user(format!("{} is not JSON: {error}", path.display()))),
        }
    }

    pub(super) fn host(&self) -> Option<Host> {
        Host::new(self.0.get("host")?.as_str()?).ok()
    }

    /// The token that was given for this very host.
    pub(super) fn token_for(&self, host: &Host) -> Option<String> {
        let own = (self.host().as_ref() == Some(host)).then(|| self.0.get("token")).flatten();
        let tokens = self.0.get("tokens").and_then(Value::as_object);
        let kept = || tokens?.iter().find(|(name, _)| Host::new(name).as_ref() == Ok(host)).map(|(_, token)| token);
        own.or_else(kept)?.as_str().map(str::to_owned)
    }

    /// Makes `host` the server of this folder. What else the file holds stays.
    pub(super) fn set(&mut self, host: &Host, token: &str) {
        if self.host().as_ref() != Some(host) {
            // What described the other server's workspace is not true of this one.
            for field in ["id", "name", "scope", "user_email", "user_id", "user_token"] {
                self.0.remove(field);
            }
        }
        self.0.insert("host".to_owned(), host.as_str().into());
        self.0.insert("token".to_owned(), token.into());
        let tokens = self.0.entry("tokens").or_insert_with(|| Value::Object(Map::new()));
        if let Some(tokens) = tokens.as_object_mut() {
            tokens.insert(host.as_str().to_owned(), token.into());
        }
    }

    /// What the last fixture left in a data source of a server.
    pub(super) fn fixture(&self, host: &Host, datasource: &str) -> Option<&Value> {
        self.0.get("fixtures")?.get(host.as_str())?.get(datasource)
    }

    pub(super) fn set_fixture(&mut self, host: &Host, datasource: &str, rows: Option<Value>) {
        let fixtures = self.0.entry("fixtures").or_insert_with(|| Value::Object(Map::new()));
        if !fixtures.is_object() {
            *fixtures = Value::Object(Map::new());
        }
        let of_host = &mut fixtures[host.as_str()];
        if !of_host.is_object() {
            *of_host = Value::Object(Map::new());
        }
        match (rows, of_host.as_object_mut()) {
            (Some(rows), _) => of_host[datasource] = rows,
            (None, Some(of_host)) => drop(of_host.remove(datasource)),
            (None, None) => (),
        }
    }

    /// Keeps what a server says of the workspace: its id, name and so on.
    pub(super) fn describe(&mut self, workspace: &Map<String, Value>) {
        for field in ["id", "name", "scope", "user_email", "user_id"] {
            if let Some(value) = workspace.get(field) {
                self.0.insert(field.to_owned(), value.clone());
            }
        }
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.0).context("`.tinyb` cannot be written as JSON")?;
        write_secret(path, &format!("{text}\n"))
    }
}

/// Writes a file that only its owner may read: whole, or not at all.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A temporary file has mode 0600 from its first moment.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| user(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_fields_stay_and_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".tinyb");
        fs::write(&path, r#"{"host": "http://localhost:7181", "token": "old", "version": "1", "cwd": "x"}"#).unwrap();
        let mut tinyb = Tinyb::read(&path).unwrap();
        tinyb.set(&Host::local(7181), "new");
        tinyb.write(&path).unwrap();
        let read: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["token"], "new");
        assert_eq!(read["tokens"]["http://localhost:7181"], "new");
        assert_eq!((&read["version"], &read["cwd"]), (&"1".into(), &"x".into()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn hosts() {
        assert_eq!(Host::new("localhost:7181/").unwrap().as_str(), "http://localhost:7181");
        assert!(Host::new("ftp://x").is_err() && Host::new("http://").is_err() && Host::new("http://a:b@c").is_err());
        assert!(Host::new("http://127.0.0.1:80").unwrap().is_local());
        assert!(!Host::new("http://localhost.example.com").unwrap().is_local());
    }
}
