//! A file from somewhere else, by its URL.
//!
//! In: a URL that somebody gave. Out: its bytes in a file. The server stands in a network that whoever gave the URL
//! does not: private addresses are not asked, wherever the name, a redirect or a second answer of the name service
//! leads. The address that was judged is the address that is connected to.

use super::{LoadError, space};
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Also from addresses of this machine and its networks.
    pub private: bool,
    /// The largest file, as it is sent.
    pub max_bytes: u64,
}

const REDIRECTS: usize = 10;
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Room is looked for after so many bytes again.
const LOOKED_FOR: u64 = 64 << 20;

/// Who may be asked, and where names lead.
#[derive(Debug, Clone, Copy)]
struct Network {
    is_public: fn(IpAddr) -> bool,
    find: fn(String) -> Found,
}

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

const WORLD: Network = Network {
    is_public,
    find: |name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }),
};

/// A URL that may be fetched, as far as it can be told without asking the name service.
pub fn url(text: &str, rules: &Rules) -> Result<Url, LoadError> {
    let url = Url::parse(text.trim()).map_err(|error| unreachable(&format!("the URL is none: {error}")))?;
    judge(&url, rules, WORLD).map_err(|reason| unreachable(&reason))?;
    Ok(url)
}

/// Writes what a URL gives. No error holds the URL: there may be a signature in it.
pub async fn fetch(url: Url, path: &Path, rules: &Rules, stop: &CancellationToken) -> Result<(), LoadError> {
    tokio::select! {
        fetched = download(url, path, rules, WORLD) => fetched,
        () = stop.cancelled() => Err(LoadError::Disk(io::Error::new(io::ErrorKind::Interrupted, "it was given up"))),
    }
}

async fn download(url: Url, path: &Path, rules: &Rules, network: Network) -> Result<(), LoadError> {
    let redirected = rules.clone();
    let policy = redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error("too many redirects");
        }
        match judge(attempt.url(), &redirected, network) {
            Ok(()) => attempt.follow(),
            Err(reason) => attempt.error(reason),
        }
    });
    let client = Client::builder()
        // A proxy would resolve the name by itself.
        .no_proxy()
        .dns_resolver(Arc::new(Judged { private: rules.private, network }))
        .redirect(policy)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("birdhouse/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| unreachable(&deepest(&error)))?;
    let mut response = client.get(url).send().await.map_err(|error| unreachable(&deepest(&error)))?;
    if !response.status().is_success() {
        return Err(unreachable(&format!("the server answers {}", response.status())));
    }
    let too_large = || unreachable(&format!("it is larger than {} bytes", rules.max_bytes));
    if response.content_length().is_some_and(|it| it > rules.max_bytes) {
        return Err(too_large());
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut bytes, mut looked) = (0, 0);
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&deepest(&error)))? {
        bytes += chunk.len() as u64;
        if bytes > rules.max_bytes {
            return Err(too_large());
        }
        if bytes >= looked {
            looked = bytes + LOOKED_FOR;
            space::check(path.parent().unwrap_or(path), LOOKED_FOR)??;
        }
        file.write_all(&chunk)?;
    }
    file.flush()?;
    Ok(())
}

fn unreachable(reason: &str) -> LoadError {
    LoadError::Unreachable(reason.to_owned())
}

/// Whether a URL may be asked: by its scheme, and by its host where that is an address. Names are judged when they
/// are resolved.
fn judge(url: &Url, rules: &Rules, network: Network) -> Result<(), String> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("`{}` is not a scheme that is fetched: http and https are", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !rules.private && !(network.is_public)(address) => Err(PRIVATE.to_owned()),
        _ if host.is_empty() => Err("the URL names no host".to_owned()),
        _ => Ok(()),
    }
}

const PRIVATE: &str = "it is at a private address: `serve --private-urls` allows these";

/// Resolves names to addresses that may be asked, and to no others.
struct Judged {
    private: bool,
    network: Network,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (private, network) = (self.private, self.network);
        Box::pin(async move {
            let found = (network.find)(name.as_str().to_owned()).await?;
            let any = !found.is_empty();
            let allowed: Vec<_> = found.into_iter().filter(|it| private || (network.is_public)(it.ip())).collect();
            match allowed.is_empty() && any {
                true => Err(PRIVATE.into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address is one of the world's and of no network in particular.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Between a provider and its customers; of protocols; of tests of speed; of relays.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 88 && c == 99))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // An address of version 4 in other clothes: mapped, translated, by a relay.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            v4(high, low)
        }
        // The rest of 64:ff9b::/32 is translated locally; 2001::/23 are tunnels and protocols; 2001:db8::/32 is in
        // documents.
        [0x64, 0xff9b, ..] => false,
        [0x2001, b, ..] if b < 0x200 || b == 0xdb8 => false,
        // Of the rest only 2000::/3 is handed out.
        [a, ..] => (0x2000..0x4000).contains(&a),
    }
}

/// The last cause of an error, without the URL that the outer ones name.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "it takes too long".to_owned(),
        Some(_) => "the server cannot be reached".to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn rules(private: bool) -> Rules {
        Rules { private, max_bytes: 1 << 20 }
    }

    #[test]
    fn private_addresses_are_known_in_every_form() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:1::1]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[fd12::1]/",
            "http://[ff02::1]/",
            "http://[::127.0.0.1]/",
            "https://user:secret@127.0.0.1/",
        ] {
            let error = url(text, &rules(false)).unwrap_err().to_string();
            assert!(error.contains("private") && !error.contains("secret"), "{text}: {error}");
            assert!(url(text, &rules(true)).is_ok(), "{text}");
        }
        for text in
            ["http://1.1.1.1/", "https://example.com/a.csv", "http://[2606:4700::1]/", "http://[2002:101:101::]/"]
        {
            assert!(url(text, &rules(false)).is_ok(), "{text}");
        }
        for text in ["file:///etc/passwd", "ftp://example.com/", "gopher://x/", "nothing", "data:text/csv,1"] {
            assert!(url(text, &rules(true)).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_address_that_is_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let at = url("http://localhost:1/x?signature=secret", &rules(false)).unwrap();
        let error = fetch(at, &folder.path().join("x"), &rules(false), &stop).await.unwrap_err().to_string();
        assert!(error.contains("private") && !error.contains("secret"), "{error}");
        let resolver = Judged { private: false, network: WORLD };
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_err());
        let resolver = Judged { private: true, network: WORLD };
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_ok());
    }
    /// A world in which 127.0.0.2 belongs to everybody. `moving.test` leads there the first time and into this
    /// machine afterwards; `both.test` leads to both.
    fn find(name: String) -> Found {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let [public, private] = [[127, 0, 0, 2], [127, 0, 0, 1]].map(|it| SocketAddr::from((it, 0)));
        let found = match name.as_str() {
            "moving.test" if ASKED.fetch_add(1, Ordering::SeqCst) == 0 => vec![public],
            "moving.test" | "inside.test" => vec![private],
            "both.test" => vec![private, public],
            _ => vec![public],
        };
        Box::pin(async { Ok(found) })
    }

    /// Answers as the path says, on an address, until it is dropped.
    async fn web(address: [u8; 4], port: u16, redirect: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from((address, port))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let answer = match head.starts_with("GET /go ") {
                    true => {
                        let to = redirect.replace("PORT", &port.to_string());
                        format!(
                            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                        )
                    }
                    false => {
                        let body = format!("{}", address[3]);
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{body}")
                    }
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn neither_a_redirect_nor_a_name_that_moves_leads_inside() {
        let network = Network { is_public: |it| it == IpAddr::from([127, 0, 0, 2]), find };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        let fetched = async |url: String| {
            let fetched = download(Url::parse(&url).unwrap(), &file, &rules(false), network).await;
            fetched.map(|()| std::fs::read_to_string(&file).unwrap()).map_err(|it| it.to_string())
        };
        for redirect in
            ["http://127.0.0.1:PORT/", "http://inside.test:PORT/", "http://moving.test:PORT/", "http://[::1]:PORT/"]
        {
            let port = web([127, 0, 0, 2], 0, redirect).await;
            web([127, 0, 0, 1], port, redirect).await;
            if redirect.contains("moving") {
                // The first answer is good; a second is asked for, and judged again.
                assert_eq!(fetched(format!("http://moving.test:{port}/")).await, Ok("2".to_owned()));
            }
            let error = fetched(format!("http://outside.test:{port}/go")).await.unwrap_err();
            assert!(error.contains("private"), "{redirect}: {error}");
        }
        // A redirect that stays outside is followed, and of two addresses only the public one is asked.
        let port = web([127, 0, 0, 2], 0, "http://outside.test:PORT/").await;
        web([127, 0, 0, 1], port, "").await;
        assert_eq!(fetched(format!("http://outside.test:{port}/go")).await, Ok("2".to_owned()));
        assert_eq!(fetched(format!("http://both.test:{port}/")).await, Ok("2".to_owned()));
        let error = fetched(format!("http://moving.test:{port}/")).await.unwrap_err();
        assert!(error.contains("private"), "{error}");
    }
}
