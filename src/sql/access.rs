//! Statements about who may do what on a ClickHouse server.

use super::Sql;

/// What a user who reads for others is held to, whatever a request says.
#[derive(Debug, Clone, Copy)]
pub struct ReaderLimits {
    /// In bytes, of one read.
    pub memory: u64,
    /// In seconds, of one answer.
    pub seconds: u64,
    /// Reads at a time.
    pub reads: u64,
}

/// Who is told so: every server of a cluster, or the one that is asked.
pub type OnCluster<'a> = Option<&'a str>;

fn on<'a>(sql: &'a mut Sql, cluster: OnCluster<'_>) -> &'a mut Sql {
    match cluster {
        Some(name) => sql.push(" ON CLUSTER ").ident(name),
        None => sql,
    }
}

/// A user that is there afterwards, with no rights. `hash` is the SHA-256 of its password, in hexadecimal.
pub fn create_reader(user: &str, hash: &str, cluster: OnCluster<'_>) -> Sql {
    let mut sql = Sql::new("CREATE USER IF NOT EXISTS ");
    on(sql.ident(user), cluster).push(" IDENTIFIED WITH sha256_hash BY ").string(hash);
    sql
}

/// Its password, and what it is held to. It may narrow its limits and say how rows are written, not write or read more.
pub fn alter_reader(user: &str, hash: &str, limits: ReaderLimits, cluster: OnCluster<'_>) -> Sql {
    let ReaderLimits { memory, seconds, reads } = limits;
    let mut sql = Sql::new("ALTER USER ");
    on(sql.ident(user), cluster).push(" IDENTIFIED WITH sha256_hash BY ").string(hash);
    sql.push(" SETTINGS readonly = 2, allow_ddl = 0 CONST, allow_introspection_functions = 0 CONST");
    sql.push(", max_memory_usage = ").number(memory).push(" MAX ").number(memory);
    sql.push(", max_execution_time = ").number(seconds).push(" MAX ").number(seconds);
    sql.push(", max_concurrent_queries_for_user = ").number(reads).push(" CONST");
    sql
}

/// Takes back whatever it may do.
pub fn revoke_all(user: &str, cluster: OnCluster<'_>) -> Sql {
    let mut sql = Sql::new("REVOKE");
    on(&mut sql, cluster).push(" ALL ON *.* FROM ").ident(user);
    sql
}

/// Counts what it uses, by the hour.
pub fn create_quota(user: &str, cluster: OnCluster<'_>) -> Sql {
    let mut sql = Sql::new("CREATE QUOTA IF NOT EXISTS ");
    on(sql.ident(user), cluster).push(" FOR INTERVAL 1 hour TRACKING ONLY TO ").ident(user);
    sql
}

pub fn grant_read(database: &str, user: &str, cluster: OnCluster<'_>) -> Sql {
    let mut sql = Sql::new("GRANT");
    on(&mut sql, cluster).push(" SELECT ON ").ident(database).push(".* TO ").ident(user);
    sql
}

/// Whether whoever asks may make users and give them rights: 1 or 0, as `result`.
pub fn check_access_management() -> Sql {
    Sql::new("CHECK GRANT ACCESS MANAGEMENT ON *.*")
}

/// Whether whoever asks may read a database: 1 or 0, as `result`.
pub fn check_grant(database: &str) -> Sql {
    let mut sql = Sql::new("CHECK GRANT SELECT ON ");
    sql.ident(database).push(".*");
    sql
}
