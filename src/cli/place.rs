//! Where the engine runs, by `--engine` and its variables.
//!
//! In: settings. Out: an [`EnginePlace`]. A password that stands where others see it is refused.

use super::{args::ServerArgs, fault::user, settings::Settings};
use crate::{
    engine::{EngineAddress, EngineCluster, EngineLogin, EnginePassword, EnginePlace, EngineServer, EngineWire},
    ingest::files::Url,
};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const PASSWORD: &str = "BIRDHOUSE_ENGINE_PASSWORD";

impl Settings {
    /// What `--engine` says, or else BIRDHOUSE_ENGINE.
    pub(super) fn engine(&self, flag: Option<&str>, choices: &[String]) -> anyhow::Result<EnginePlace> {
        let (text, source) = match flag.or_else(|| self.variable("BIRDHOUSE_ENGINE")) {
            None | Some("chdb") => return Ok(EnginePlace::Embedded),
            Some("child") => {
                let program = std::env::current_exe();
                let program =
                    program.map_err(|error| user(format!("this program's own file is not known: {error}")))?;
                return Ok(EnginePlace::Process(program));
            }
            Some(text) if flag.is_some() => (text, "--engine"),
            Some(text) => (text, "BIRDHOUSE_ENGINE"),
        };
        let wanted = "`chdb`, `child`, or the address of a ClickHouse server like http://localhost:8123";
        let url = Url::parse(text).ok().filter(|it| matches!(it.scheme(), "http" | "https") && it.has_host());
        // The text may hold a password, so it is not repeated.
        let mut url = url.ok_or_else(|| user(format!("{source} is not {wanted}")))?;
        let secret = |name: &str| matches!(name, "password" | "user");
        if !url.username().is_empty() || url.password().is_some() || url.query_pairs().any(|(name, _)| secret(&name)) {
            let message = format!(
                "{source} has a user or a password in it, which others can see: put them into BIRDHOUSE_ENGINE_USER and \
                 {PASSWORD}, or name a file in {PASSWORD}_FILE"
            );
            return Err(user(message));
        }
        let cluster = url.query_pairs().find(|(name, _)| name == "cluster").map(|(_, it)| it.into_owned());
        let cluster = match cluster.filter(|it| !it.is_empty()) {
            Some(name) => Some(EngineCluster { name, shard_by: shard_by(choices)? }),
            None => None,
        };
        if cluster.is_none() && !choices.is_empty() {
            return Err(user(format!(
                "--shard-by is for a cluster, which {source} names as in http://localhost:8123/?cluster=birds"
            )));
        }
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| name != "cluster") {
            return Err(user(format!("{source}: `{name}` is not known here; only cluster= may stand in the address")));
        }
        url.set_query(None);
        let is_near = url.host_str().is_some_and(|it| {
            let address = it.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            it == "localhost" || address.is_ok_and(|it| it.is_loopback())
        });
        let wire = match self.variable("BIRDHOUSE_ENGINE_COMPRESSION") {
            None if is_near => EngineWire::Plain,
            None | Some("zstd") => EngineWire::Packed,
            Some("none") => EngineWire::Plain,
            Some(_) => return Err(user("BIRDHOUSE_ENGINE_COMPRESSION is zstd or none".to_owned())),
        };
        let login = self.login("BIRDHOUSE_ENGINE_USER", PASSWORD)?;
        let login =
            login.unwrap_or_else(|| EngineLogin { user: "default".to_owned(), password: EnginePassword::default() });
        let reader = self.login("BIRDHOUSE_ENGINE_READER", "BIRDHOUSE_ENGINE_READER_PASSWORD")?;
        Ok(EnginePlace::Server(EngineServer {
            address: EngineAddress::Url(url.to_string()),
            login,
            reader,
            cluster,
            authorities: self.authorities()?,
            wire,
        }))
    }

    /// What `--shard-by` says, or else BIRDHOUSE_SHARD_BY, with semicolons between.
    pub(super) fn shard_by(&self, args: &ServerArgs) -> Vec<String> {
        if !args.shard_by.is_empty() {
            return args.shard_by.clone();
        }
        let text = self.variable("BIRDHOUSE_SHARD_BY").unwrap_or_default();
        text.split(';').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }

    /// Whom to trust besides the authorities that the system trusts.
    fn authorities(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(path) = self.variable("BIRDHOUSE_ENGINE_CA_FILE") else { return Ok(None) };
        let text = std::fs::read(path);
        let text = text.map_err(|error| user(format!("BIRDHOUSE_ENGINE_CA_FILE: {path} cannot be read: {error}")))?;
        match text.windows(BEGIN.len()).any(|it| it == BEGIN) {
            true => Ok(Some(text)),
            false => Err(user(format!("BIRDHOUSE_ENGINE_CA_FILE: there is no certificate in {path}: PEM is wanted"))),
        }
    }

    fn login(&self, name: &str, password: &str) -> anyhow::Result<Option<EngineLogin>> {
        let file = format!("{password}_FILE");
        let password = match (self.variable(password), self.variable(&file)) {
            (Some(_), Some(_)) => return Err(user(format!("{password} and {file} are both set"))),
            (Some(text), None) => text.to_owned(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| user(format!("{file}: {path} cannot be read: {error}")))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            (None, None) => String::new(),
        };
        let found = self.variable(name);
        Ok(found.map(|it| EngineLogin { user: it.to_owned(), password: EnginePassword::new(password) }))
    }
}

/// `events=company_id,event`: a data source, and the columns whose hash decides the shard of its rows.
pub(super) fn shard_by(choices: &[String]) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let mut res = Vec::new();
    for choice in choices {
        let columns = |it: &str| it.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let parts = choice.split_once('=').map(|(name, it)| (name.trim().to_owned(), columns(it)));
        let parts: Option<(String, Vec<String>)> =
            parts.filter(|(name, columns): &(String, Vec<String>)| !name.is_empty() && !columns.is_empty());
        res.push(parts.ok_or_else(|| {
            user(format!("--shard-by {choice}: DATASOURCE=COLUMNS is wanted, like events=company_id"))
        })?);
    }
    Ok(res)
}
