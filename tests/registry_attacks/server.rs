//! A registry on loopback that does and says what a test tells it, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }

    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    pub fn is_for(&self, part: &str) -> bool {
        self.target.contains(part)
    }
}

/// What the server writes, step by step; then it closes.
pub enum Step {
    Send(Vec<u8>),
    /// These bytes again and again, with a pause between, until the client is gone.
    Endless(Vec<u8>, Duration),
    /// Nothing, until the client is gone.
    Hang,
}

pub struct Reply(pub Vec<Step>);

impl Reply {
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self(vec![Step::Send(bytes.into())])
    }

    /// A whole answer with its length.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let length = body.len().to_string();
        let mut all = vec![("content-length", length.as_str())];
        all.extend_from_slice(headers);
        let mut bytes = head(status, &all);
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    pub fn ok(body: &[u8]) -> Self {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        Self::new(200, &[("content-type", kind)], body)
    }

    pub fn status(status: u16) -> Self {
        Self::new(status, &[], b"")
    }

    pub fn redirect(to: &str) -> Self {
        Self::new(307, &[("location", to)], b"")
    }

    pub fn basic() -> Self {
        Self::new(401, &[("www-authenticate", "Basic realm=\"r\"")], b"")
    }

    pub fn bearer(realm: &str) -> Self {
        let value =
            format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:team/app:pull\"");
        Self::new(401, &[("www-authenticate", &value)], b"")
    }

    pub fn hang() -> Self {
        Self(vec![Step::Hang])
    }
}

pub fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// Runs until it is dropped.
///
/// It knows no HEAD, as some registries do not, and does not count one: so that a test sees what it
/// is about. [`Server::start_with_head`] hands those to the test too.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(None, false, Arc::new(handler))
    }

    pub fn start_with_head(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(None, true, Arc::new(handler))
    }

    pub fn start_tls(
        config: ServerConfig,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(Arc::new(config)), false, Arc::new(handler))
    }

    fn run(tls: Option<Arc<ServerConfig>>, heads: bool, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&log), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (tls, handler, seen) = (tls.clone(), Arc::clone(&handler), Arc::clone(&seen));
                thread::spawn(move || connection(stream, tls, heads, &handler, &seen));
            }
        });
        Self { address, log, stop }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    heads: bool,
    handler: &Handler,
    log: &Mutex<Vec<Seen>>,
) {
    if let Some(config) = tls {
        let session = ServerConnection::new(config).unwrap();
        serve(StreamOwned::new(session, stream), heads, handler, log);
        return;
    }
    let mut first = [0_u8];
    if stream.peek(&mut first).is_ok() && first == [0x16] {
        // A TLS hello to a plain server: answered as Go's net/http does.
        let mut stream = stream;
        let mut hello = [0_u8; 4096];
        drop(stream.read(&mut hello));
        drop(stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n"));
        return;
    }
    serve(stream, heads, handler, log);
}

fn serve(mut stream: impl Read + Write, heads: bool, handler: &Handler, log: &Mutex<Vec<Seen>>) {
    let Some(seen) = request(&mut stream) else {
        return;
    };
    if seen.method == "HEAD" && !heads {
        drop(stream.write_all(&head(405, &[("content-length", "0")])));
        drop(stream.flush());
        return;
    }
    log.lock().unwrap().push(seen.clone());
    for step in handler(&seen).0 {
        let sent = match step {
            Step::Send(bytes) => stream.write_all(&bytes),
            Step::Endless(bytes, pause) => loop {
                if let Err(error) = stream.write_all(&bytes).and_then(|()| stream.flush()) {
                    break Err(error);
                }
                thread::sleep(pause);
            },
            Step::Hang => stream.read_to_end(&mut Vec::new()).map(drop),
        };
        if sent.is_err() {
            return;
        }
    }
    drop(stream.flush());
}

fn request(stream: &mut impl Read) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut byte = [0_u8];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0_u8; length];
    stream.read_exact(&mut body).ok()?;
    Some(Seen {
        method,
        target,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
