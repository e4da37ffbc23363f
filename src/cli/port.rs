//! Listening on this machine only, and who has a port that is taken.
//!
//! In: a port. Out: one listener on 127.0.0.1 and one on ::1, or an error that names the process in the way.

use super::fault::user;
use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

pub(super) struct Listeners {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) port: u16,
    /// The addresses, for people.
    pub(super) addresses: Vec<&'static str>,
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Takes a port on both loopback addresses; 0 takes a free one. A machine without IPv6 gets one listener.
pub(super) fn listen(port: u16) -> anyhow::Result<Listeners> {
    let taken = |error: io::Error, port: u16| match error.kind() {
        io::ErrorKind::AddrInUse => user(in_the_way(port)),
        io::ErrorKind::PermissionDenied => user(format!("port {port} is for administrators: choose one above 1023")),
        _ => anyhow::Error::new(error).context(format!("cannot listen on port {port}")),
    };
    let first = bind((Ipv4Addr::LOCALHOST, port).into()).map_err(|error| taken(error, port))?;
    let port = first.local_addr().context("the listener has no address")?.port();
    let mut res = Listeners { listeners: vec![first], port, addresses: vec!["127.0.0.1"] };
    match bind((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(second) => {
            res.listeners.push(second);
            res.addresses.push("::1");
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(taken(error, port)),
        // No IPv6 here, or none on loopback.
        Err(_) => (),
    }
    Ok(res)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A server that has just stopped leaves connections behind which keep nobody from starting the next.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn in_the_way(port: u16) -> String {
    let who = match owner(port) {
        Some(Owner { pid, command }) => format!(" by process {pid} ({command})"),
        None => " by another process".to_owned(),
    };
    let other = if port < u16::MAX { port + 1 } else { port - 1 };
    format!("port {port} is in use{who}; choose another with --port {other} or BIRDHOUSE_PORT={other}")
}

struct Owner {
    pid: u32,
    command: String,
}

/// Which process listens on a port, as far as this user may see it.
fn owner(port: u16) -> Option<Owner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|it| fs::read_to_string(it).ok());
    let inodes: Vec<String> = tables.flat_map(|table| listeners_in(&table, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if targets.any(|target| wanted.iter().any(|it| target.as_os_str() == it.as_str())) {
            return Some(Owner { pid, command: command(pid) });
        }
    }
    None
}

/// The inodes of the sockets that listen on a port, out of the text of `/proc/net/tcp`.
fn listeners_in(table: &str, port: u16) -> Vec<String> {
    const LISTENING: &str = "0A";
    let hex = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() > 9 && row[1].ends_with(&hex) && row[3] == LISTENING);
    rows.map(|row| row[9].to_owned()).collect()
}

/// A process's program and its first word, if that is a command: further arguments may be secrets.
fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line
        .split(|it| *it == 0)
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .filter(|it| !it.is_empty())
        .collect();
    let Some(program) = words.first() else { return "of unknown name".to_owned() };
    match words.get(1) {
        Some(word) if !word.starts_with('-') => format!("{program} {word}"),
        _ => program.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_have_the_same_port() {
        let listeners = listen(0).unwrap();
        assert_ne!(listeners.port, 0);
        for listener in &listeners.listeners {
            assert_eq!(listener.local_addr().unwrap().port(), listeners.port);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_taken_port_names_its_owner() {
        let first = listen(0).unwrap();
        let error = listen(first.port).err().unwrap().to_string();
        let me = format!("is in use by process {} (", std::process::id());
        assert!(error.contains(&me) && error.contains("--port"), "{error}");
    }

    #[test]
    fn the_table_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1C0D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100 0\n\
            1: 0100007F:1C0D 0100007F:A000 01 00000000:00000000 00:00000000 00000000  0  0 4712 1 0 100 0\n";
        assert_eq!(listeners_in(table, 7181), ["4711"]);
        assert!(listeners_in(table, 7182).is_empty());
    }
}
