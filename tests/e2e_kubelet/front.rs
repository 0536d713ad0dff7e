//! A door before the registry that can hold one answer back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A listener on loopback that hands each request to a registry, one connection each.
#[derive(Debug)]
pub(crate) struct Front {
    host: String,
}

/// The first answer that was asked for; it goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _open: Sender<()>,
}

impl Front {
    /// Starts it before `registry`. The first answer to a request line that holds `needle` is
    /// fetched, and handed out to be held.
    pub(crate) fn start(registry: &str, needle: &'static str) -> (Self, Receiver<Held>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let host = listener.local_addr().expect("its address").to_string();
        let (tell, asked) = channel();
        let tell = Arc::new(Mutex::new(Some(tell)));
        let registry = registry.to_owned();
        // It ends with the test's process; what it served is gone by then.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (registry, tell) = (registry.clone(), Arc::clone(&tell));
                thread::spawn(move || serve(client, &registry, needle, &tell));
            }
        });
        (Self { host }, asked)
    }

    /// `127.0.0.1:PORT`, the registry's name here.
    pub(crate) fn host(&self) -> String {
        self.host.clone()
    }
}

fn serve(mut client: TcpStream, registry: &str, needle: &str, tell: &Mutex<Option<Sender<Held>>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            // Who tries TLS first must learn that it is not spoken here, as a Go server says it.
            Ok(1) if head.is_empty() && byte[0] == 0x16 => {
                client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok();
                return;
            }
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut upstream = TcpStream::connect(registry).expect("the registry listens");
    let one = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    upstream
        .write_all(one.as_bytes())
        .expect("ask the registry");
    let mut answer = Vec::new();
    upstream
        .read_to_end(&mut answer)
        .expect("the registry answers");
    let line = head.lines().next().unwrap_or_default();
    if line.contains(needle)
        && let Some(tell) = tell.lock().expect("no thread fails here").take()
    {
        let (open, held) = channel();
        tell.send(Held { _open: open }).ok();
        // An error is what comes when it was dropped.
        held.recv().ok();
    }
    client.write_all(&answer).ok();
}
