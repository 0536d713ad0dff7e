//! Log events in the journal's own protocol (systemd, "Native Journal Protocol").

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::sink::Sink;

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest value of one field, in bytes. Values from outside are shorter (`printable`); this is for
/// the libraries below, so that an event always fits one datagram.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// Longest event, in bytes: half of what Linux lets wait in a socket by default.
const MAX_EVENT_BYTES: usize = 96 * 1024;

/// Hands each event to the journal, through the log's own thread.
pub(super) struct Journal {
    sink: Sink,
}

impl Journal {
    /// What writes one event to the journal's socket.
    ///
    /// # Errors
    /// There is no journal.
    pub(super) fn writer() -> io::Result<impl FnMut(&[u8]) -> io::Result<()> + Send + 'static> {
        let socket = UnixDatagram::unbound()?;
        // An empty datagram is no entry; it tells whether somebody is there.
        socket.send_to(&[], SOCKET)?;
        // By name each time: a journal that was restarted has a new socket.
        Ok(move |event: &[u8]| socket.send_to(event, SOCKET).map(drop))
    }

    pub(super) fn new(sink: Sink) -> Self {
        Self { sink }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::begin(event.metadata());
        event.record(&mut entry);
        self.sink.push(entry.bytes);
    }
}

/// One event as a datagram.
struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    fn begin(metadata: &Metadata<'_>) -> Self {
        let mut entry = Self {
            bytes: Vec::with_capacity(1024),
        };
        // syslog(3); `info` is a notice, as denials are what an operator reads.
        let priority = match *metadata.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "5",
            Level::DEBUG => "6",
            Level::TRACE => "7",
        };
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "pullguard");
        entry.put("TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            entry.put("CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            entry.put("CODE_LINE", &line.to_string());
        }
        entry
    }

    /// Name, newline, length (8 bytes, little endian), value, newline: the form that takes any
    /// value.
    fn put(&mut self, name: &str, value: &str) {
        let mut value = value.as_bytes();
        value = value.get(..MAX_VALUE_BYTES).unwrap_or(value);
        let room = MAX_EVENT_BYTES.saturating_sub(self.bytes.len());
        if name.len().saturating_add(value.len()).saturating_add(10) > room {
            return;
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'\n');
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    fn field(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put("MESSAGE", value);
        } else {
            self.put(&field_name(field.name()), value);
        }
    }
}

/// `pod.name` as `PULLGUARD_POD_NAME`: a field's name takes capitals, digits and `_` only.
fn field_name(name: &str) -> String {
    let mut out = String::from("PULLGUARD_");
    for letter in name.chars() {
        out.push(if letter.is_ascii_alphanumeric() {
            letter.to_ascii_uppercase()
        } else {
            '_'
        });
    }
    // systemd.journal-fields(7): at most 64 characters.
    out.truncate(64);
    out
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Name and value of every field of an entry.
    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut out = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap());
            let value = &bytes[end + 9..end + 9 + usize::try_from(length).unwrap()];
            out.push((
                String::from_utf8(bytes[..end].to_vec()).unwrap(),
                String::from_utf8(value.to_vec()).unwrap(),
            ));
            bytes = &bytes[end + 10 + value.len()..];
        }
        out
    }

    fn entry(say: impl FnOnce()) -> Vec<(String, String)> {
        let (tell, told) = mpsc::channel();
        let sink = Sink::start(move |line| {
            tell.send(line.to_vec()).unwrap();
            Ok(())
        });
        let log = tracing_subscriber::registry().with(Journal::new(sink.clone()));
        tracing::subscriber::with_default(log, say);
        assert!(sink.flush(Duration::from_secs(20)));
        fields(&told.try_recv().unwrap())
    }

    #[test]
    fn an_event_becomes_one_entry_with_a_field_each() {
        let entry = entry(|| tracing::warn!(pod.name = "api", hits = 2, "two\nlines"));
        let of = |name: &str| {
            let found: Vec<_> = entry.iter().filter(|(key, _)| key == name).collect();
            assert_eq!(found.len(), 1, "{name}: {entry:?}");
            found[0].1.clone()
        };
        assert_eq!(of("MESSAGE"), "two\nlines");
        assert_eq!(of("PRIORITY"), "4");
        assert_eq!(of("SYSLOG_IDENTIFIER"), "pullguard");
        assert_eq!(of("PULLGUARD_POD_NAME"), "api");
        assert_eq!(of("PULLGUARD_HITS"), "2");
    }

    #[test]
    fn a_value_that_fits_no_datagram_is_cut() {
        let entry = entry(|| tracing::info!("{}", "x".repeat(1 << 20)));
        let message = entry.iter().find(|(key, _)| key == "MESSAGE").unwrap();
        assert_eq!(message.1.len(), MAX_VALUE_BYTES);
    }
}
