//! Where the engine runs, by `--engine` and its variables.
//!
//! In: settings. Out: an [`EnginePlace`]. A password that stands where others see it is refused.

use super::{fault::user, settings::Settings};
use crate::{
    engine::{EngineAddress, EngineLogin, EnginePassword, EnginePlace, EngineServer},
    ingest::files::Url,
};

const PASSWORD: &str = "BIRDHOUSE_ENGINE_PASSWORD";

impl Settings {
    /// What `--engine` says, or else BIRDHOUSE_ENGINE.
    pub(super) fn engine(&self, flag: Option<&str>) -> anyhow::Result<EnginePlace> {
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
        let url = url.ok_or_else(|| user(format!("{source} is not {wanted}")))?;
        let secret = |name: &str| matches!(name, "password" | "user");
        if !url.username().is_empty() || url.password().is_some() || url.query_pairs().any(|(name, _)| secret(&name)) {
            let message = format!(
                "{source} has a user or a password in it, which others can see: put them into BIRDHOUSE_ENGINE_USER and \
                 {PASSWORD}, or name a file in {PASSWORD}_FILE"
            );
            return Err(user(message));
        }
        if let Some((_, cluster)) = url.query_pairs().find(|(name, _)| name == "cluster") {
            let message = format!(
                "{source} names a cluster, and birdhouse does not serve over one yet: replacing, deleting, copying and \
                 populating, the quarantine's replay and the tinybird.* data sources would reach one server alone. \
                 `birdhouse plan --cluster {cluster}` prints the tables and views for it; without cluster= one server is \
                 the engine"
            );
            return Err(user(message));
        }
        let login = self.login("BIRDHOUSE_ENGINE_USER", PASSWORD)?;
        let login =
            login.unwrap_or_else(|| EngineLogin { user: "default".to_owned(), password: EnginePassword::default() });
        let reader = self.login("BIRDHOUSE_ENGINE_READER", "BIRDHOUSE_ENGINE_READER_PASSWORD")?;
        Ok(EnginePlace::Server(EngineServer { address: EngineAddress::Url(url.to_string()), login, reader }))
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
