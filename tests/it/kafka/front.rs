//! A door before the broker: TLS and SASL, which the broker of the tests does not speak, and trouble on the way.
//!
//! Requests are passed on one by one, as a Kafka broker answers them in order; the broker's address in its answers
//! becomes the door's.

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::{MessageDigest, hash},
    pkcs5::pbkdf2_hmac,
    pkey::{PKey, Private},
    rsa::Rsa,
    sign::Signer,
    ssl::{SslAcceptor, SslMethod},
    x509::{X509, X509Name, extension},
};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub(crate) struct Front {
    pub(crate) port: u16,
    rules: Arc<Rules>,
}

/// What a door asks for.
#[derive(Default)]
pub(crate) struct Asks {
    pub(crate) tls: Option<SslAcceptor>,
    /// A name and a password.
    pub(crate) login: Option<(String, String)>,
    /// The tokens of OAUTHBEARER that are good now. Who is in by one shows the next after [`SESSION`].
    pub(crate) tokens: Option<Issued>,
}

pub(crate) type Issued = Arc<Mutex<Vec<String>>>;

/// In milliseconds.
const SESSION: u64 = 2000;

struct Rules {
    asks: Asks,
    own_port: u16,
    broker: u16,
    trouble: AtomicU8,
    logins: AtomicUsize,
}

/// What happens to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    None,
    /// They end in the middle, and the connection with them.
    Cut,
    /// They do not come.
    Silence,
    /// They come much later.
    Delay,
}

/// Signs certificates that are good for a day.
pub(crate) struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = certificate(&key, "the test's authority", None, None);
        Authority { key, certificate }
    }

    pub(crate) fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// What a server of that name proves itself with.
    pub(crate) fn acceptor(&self, host: &str) -> SslAcceptor {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = certificate(&key, host, Some(host), Some(self));
        let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        acceptor.build()
    }
}

fn certificate(key: &PKey<Private>, name: &str, host: Option<&str>, authority: Option<&Authority>) -> X509 {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut it = X509::builder().unwrap();
    it.set_version(2).unwrap();
    it.set_serial_number(&BigNum::from_u32(rand::random()).unwrap().to_asn1_integer().unwrap()).unwrap();
    it.set_subject_name(&subject).unwrap();
    it.set_issuer_name(authority.map_or(&subject, |it| it.certificate.subject_name())).unwrap();
    it.set_pubkey(key).unwrap();
    it.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    it.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    match host {
        Some(host) => {
            let context = it.x509v3_context(None, None);
            let mut names = extension::SubjectAlternativeName::new();
            match host.parse::<IpAddr>() {
                Ok(_) => names.ip(host),
                Err(_) => names.dns(host),
            };
            let names = names.build(&context).unwrap();
            it.append_extension(names).unwrap();
        }
        None => it.append_extension(extension::BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
    }
    it.sign(authority.map_or(key, |it| &it.key), MessageDigest::sha256()).unwrap();
    it.build()
}

impl Front {
    /// Opens before the broker at `broker`, a port of this machine.
    pub(crate) fn open(broker: u16, asks: Asks) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (trouble, logins) = (AtomicU8::new(Trouble::None as u8), AtomicUsize::new(0));
        let rules = Arc::new(Rules { asks, own_port: port, broker, trouble, logins });
        let shared = rules.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let rules = shared.clone();
                // A connection ends when either side has had enough of it.
                thread::spawn(move || _ = rules.serve(stream));
            }
        });
        Front { port, rules }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.rules.trouble.store(trouble as u8, Ordering::Release);
    }

    /// How often somebody proved who it is.
    pub(crate) fn logins(&self) -> usize {
        self.rules.logins.load(Ordering::Acquire)
    }
}

impl Rules {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match &self.asks.tls {
            None => self.pass(stream),
            Some(tls) => self.pass(tls.accept(stream).map_err(io::Error::other)?),
        }
    }

    fn pass(&self, mut client: impl Read + Write) -> io::Result<()> {
        let mut broker = TcpStream::connect(("127.0.0.1", self.broker))?;
        broker.set_nodelay(true)?;
        let mut sasl = self.asks.login.as_ref().map(|it| Sasl::new(it, self.asks.tokens.as_ref()));
        loop {
            let request = read_frame(&mut client)?;
            let (kind, id) = (i16::from_be_bytes([request[0], request[1]]), &request[4..8]);
            let mut answer = match (kind, &mut sasl) {
                (HANDSHAKE, Some(sasl)) => [id, &sasl.handshake(body(&request))].concat(),
                (AUTHENTICATE, Some(sasl)) => {
                    let version = request[3];
                    let answer = [id, &sasl.authenticate(body(&request), version)].concat();
                    self.logins.fetch_add(usize::from(sasl.state == SaslState::Proven), Ordering::AcqRel);
                    answer
                }
                (kind, Some(sasl)) if kind != API_VERSIONS && sasl.state != SaslState::Proven => {
                    return Err(io::Error::other("who is it?"));
                }
                _ => {
                    write_frame(&mut broker, &request)?;
                    read_frame(&mut broker)?
                }
            };
            let advertised = [&b"127.0.0.1"[..], &i32::from(self.broker).to_be_bytes()].concat();
            let own = [&b"127.0.0.1"[..], &i32::from(self.own_port).to_be_bytes()].concat();
            for at in 0..answer.len() {
                if answer[at..].starts_with(&advertised) {
                    answer[at..at + own.len()].copy_from_slice(&own);
                }
            }
            match self.trouble.load(Ordering::Acquire) {
                it if it == Trouble::Cut as u8 => {
                    let whole = framed(&answer);
                    client.write_all(&whole[..whole.len() / 2])?;
                    return client.flush();
                }
                it if it == Trouble::Silence as u8 => {
                    while self.trouble.load(Ordering::Acquire) == Trouble::Silence as u8 {
                        thread::sleep(Duration::from_millis(20));
                    }
                    return Ok(());
                }
                it if it == Trouble::Delay as u8 => thread::sleep(Duration::from_millis(400)),
                _ => (),
            }
            write_frame(&mut client, &answer)?;
        }
    }
}

const HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const AUTHENTICATE: i16 = 36;

fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

fn write_frame(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(frame))?;
    stream.flush()
}

/// What follows a request's header: kind, version, id, the client's name.
fn body(request: &[u8]) -> &[u8] {
    let name = i16::from_be_bytes([request[8], request[9]]).max(0) as usize;
    &request[10 + name..]
}

/// The broker's side of a login.
struct Sasl<'a> {
    name: &'a str,
    password: &'a str,
    tokens: Option<&'a Issued>,
    mechanism: String,
    state: SaslState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SaslState {
    Open,
    /// The messages of SCRAM so far, and the nonce.
    Challenged(String, String),
    Proven,
}

const SALT: &[u8] = b"a little salt";
const ROUNDS: usize = 4096;

impl<'a> Sasl<'a> {
    fn new((name, password): &'a (String, String), tokens: Option<&'a Issued>) -> Sasl<'a> {
        Sasl { name, password, tokens, mechanism: String::new(), state: SaslState::Open }
    }

    fn handshake(&mut self, body: &[u8]) -> Vec<u8> {
        self.mechanism = String::from_utf8_lossy(&body[2..]).into_owned();
        let mut answer = vec![0, 0];
        let known = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
        answer.extend((known.len() as i32).to_be_bytes());
        for it in known {
            answer.extend((it.len() as i16).to_be_bytes());
            answer.extend(it.as_bytes());
        }
        answer
    }

    fn authenticate(&mut self, body: &[u8], version: u8) -> Vec<u8> {
        let said = String::from_utf8_lossy(&body[4..]).into_owned();
        let mut answer = Vec::new();
        match self.step(&said) {
            Some(reply) => {
                answer.extend([0, 0, 0xff, 0xff]);
                answer.extend((reply.len() as i32).to_be_bytes());
                answer.extend(reply.as_bytes());
            }
            None => {
                let words = "no such user or password";
                answer.extend(58i16.to_be_bytes());
                answer.extend((words.len() as i16).to_be_bytes());
                answer.extend(words.as_bytes());
                answer.extend([0; 4]);
            }
        }
        if version > 0 {
            answer.extend(if self.tokens.is_some() { SESSION } else { 0 }.to_be_bytes());
        }
        answer
    }

    fn step(&mut self, said: &str) -> Option<String> {
        let state = std::mem::replace(&mut self.state, SaslState::Open);
        match (self.mechanism.as_str(), state) {
            ("PLAIN", _) => {
                let proven = said == format!("\0{}\0{}", self.name, self.password);
                self.state = if proven { SaslState::Proven } else { SaslState::Open };
                proven.then(String::new)
            }
            ("OAUTHBEARER", _) => {
                let good = self.tokens?.lock().unwrap().clone();
                let proven = good.iter().any(|it| said.contains(&format!("auth=Bearer {it}\u{1}")));
                self.state = if proven { SaslState::Proven } else { SaslState::Open };
                proven.then(String::new)
            }
            (_, SaslState::Challenged(so_far, nonce)) => self.last_of_scram(said, &so_far, &nonce),
            (_, _) => {
                let first = said.strip_prefix("n,,")?;
                let (user, nonce) = first.strip_prefix("n=")?.split_once(",r=")?;
                let nonce = format!("{nonce}{:x}", rand::random::<u64>());
                let challenge = format!("r={nonce},s={},i={ROUNDS}", openssl::base64::encode_block(SALT));
                // Who is not known is told so in the end.
                let first = if user == self.name { first } else { "" };
                self.state = SaslState::Challenged(format!("{first},{challenge}"), nonce);
                Some(challenge)
            }
        }
    }

    fn last_of_scram(&mut self, said: &str, so_far: &str, nonce: &str) -> Option<String> {
        let (digest, width) = match self.mechanism.as_str() {
            "SCRAM-SHA-256" => (MessageDigest::sha256(), 32),
            _ => (MessageDigest::sha512(), 64),
        };
        let hmac = |key: &[u8], text: &[u8]| {
            let key = PKey::hmac(key).unwrap();
            Signer::new(digest, &key).unwrap().sign_oneshot_to_vec(text).unwrap()
        };
        let mut salted = vec![0; width];
        pbkdf2_hmac(self.password.as_bytes(), SALT, ROUNDS, digest, &mut salted).unwrap();
        let client = hmac(&salted, b"Client Key");
        let (without, proof) = said.rsplit_once(",p=")?;
        if !without.ends_with(&format!(",r={nonce}")) {
            return None;
        }
        let messages = format!("{so_far},{without}");
        let signature = hmac(&hash(digest, &client).unwrap(), messages.as_bytes());
        let wanted: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        if openssl::base64::decode_block(proof).ok()? != wanted {
            return None;
        }
        self.state = SaslState::Proven;
        let server = hmac(&hmac(&salted, b"Server Key"), messages.as_bytes());
        Some(format!("v={}", openssl::base64::encode_block(&server)))
    }
}
