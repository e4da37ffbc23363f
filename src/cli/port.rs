//! Listening, on this machine only unless told otherwise, and who has a port that is taken.
//!
//! In: a port, perhaps an address. Out: one listener on 127.0.0.1, one on ::1, perhaps one on that address, or an error
//! that names the process in the way.

use super::fault::user;
use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

pub(super) struct Listeners {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) port: u16,
    /// The addresses, for people.
    pub(super) addresses: Vec<String>,
    /// The address by which others than this machine get here.
    pub(super) open: Option<IpAddr>,
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Takes a port on both loopback addresses, and on one more if asked for; 0 takes a free one. A machine without IPv6
/// gets one listener. `chosen_by` are the flag and the variable that choose the port.
pub(super) fn listen(port: u16, more: Option<IpAddr>, chosen_by: (&str, &str)) -> anyhow::Result<Listeners> {
    let failed = |error: io::Error, port: u16| match error.kind() {
        io::ErrorKind::AddrInUse => user(in_the_way(port, chosen_by)),
        io::ErrorKind::PermissionDenied => user(format!("port {port} is for administrators: choose one above 1023")),
        io::ErrorKind::AddrNotAvailable => {
            user("--listen wants an address of this machine, or 0.0.0.0 for all of them")
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen on port {port}")),
    };
    let more = more.filter(|it| !it.is_loopback());
    // The address of all addresses takes the place of loopback's.
    let all = |address: IpAddr| more.is_some_and(|it| it.is_unspecified() && it.is_ipv4() == address.is_ipv4());
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let wanted = local.into_iter().filter(|it| !all(*it)).chain(more);
    let mut res = Listeners { listeners: vec![], port, addresses: vec![], open: more };
    for address in wanted {
        match bind(SocketAddr::new(address, res.port)) {
            Ok(listener) => {
                res.port = listener.local_addr().context("the listener has no address")?.port();
                res.listeners.push(listener);
                res.addresses.push(address.to_string());
            }
            // No IPv6 here, or none on loopback.
            Err(error) if address == Ipv6Addr::LOCALHOST && error.kind() != io::ErrorKind::AddrInUse => (),
            Err(error) => return Err(failed(error, res.port)),
        }
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

fn in_the_way(port: u16, (flag, variable): (&str, &str)) -> String {
    let who = match owner(port) {
        Some(Owner { pid, command }) => format!(" by process {pid} ({command})"),
        None => " by another process".to_owned(),
    };
    let other = if port < u16::MAX { port + 1 } else { port - 1 };
    format!("port {port} is in use{who}; choose another with {flag} {other} or {variable}={other}")
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
        let listeners = listen(0, None, ("--port", "BIRDHOUSE_PORT")).unwrap();
        assert_ne!(listeners.port, 0);
        for listener in &listeners.listeners {
            assert_eq!(listener.local_addr().unwrap().port(), listeners.port);
        }
    }

    #[test]
    fn all_addresses_include_those_of_loopback() {
        let listeners = listen(0, Some(Ipv4Addr::UNSPECIFIED.into()), ("--port", "BIRDHOUSE_PORT")).unwrap();
        assert!(listeners.addresses.contains(&"0.0.0.0".to_owned()), "{:?}", listeners.addresses);
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, listeners.port)).is_ok());
        assert!(
            listeners.open.is_some()
                && listen(0, Some(Ipv4Addr::LOCALHOST.into()), ("--port", "BIRDHOUSE_PORT")).unwrap().open.is_none()
        );
        let error = listen(0, Some(Ipv4Addr::new(192, 0, 2, 1).into()), ("--port", "BIRDHOUSE_PORT"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("--listen wants an address of this machine"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_taken_port_names_its_owner() {
        let first = listen(0, None, ("--port", "BIRDHOUSE_PORT")).unwrap();
        let error = listen(first.port, None, ("--port", "BIRDHOUSE_PORT")).err().unwrap().to_string();
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
