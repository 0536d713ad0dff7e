//! Values with a unit or a shape, parsed while the document is read. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::image::Reference;

/// An absolute path without `..`. Doubled and trailing slashes and `.` are dropped: paths are
/// compared as text, and one path must have one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = Path::new(&text);
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if !path.is_absolute() || climbs || text.contains(char::is_control) {
            return Err(format!(
                "`{}` is not an absolute path without `..`",
                text.escape_default()
            ));
        }
        Ok(Self(path.components().collect()))
    }
}

/// One absolute path, several with `:` between them as containerd's `config_path` has them, or a
/// list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMany")]
pub(crate) struct AbsolutePaths(pub(crate) Vec<PathBuf>);

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a path, paths with `:` between them, or a list of paths"
)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<OneOrMany> for AbsolutePaths {
    type Error = String;

    fn try_from(written: OneOrMany) -> Result<Self, String> {
        let paths: Vec<String> = match written {
            OneOrMany::One(text) => text.split(':').map(str::to_owned).collect(),
            OneOrMany::Many(list) => list,
        };
        let paths = paths.into_iter().map(AbsolutePath::try_from);
        let paths: Result<Vec<_>, _> = paths.map(|path| path.map(|path| path.0)).collect();
        paths.map(Self)
    }
}

/// A unix socket: an absolute path, `unix://` before it or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SocketPath(pub(crate) PathBuf);

/// `sockaddr_un.sun_path` holds 108 bytes with its final NUL (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

impl TryFrom<String> for SocketPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(&text).to_owned();
        if path.len() > MAX_SOCKET_PATH_BYTES {
            return Err(format!(
                "a socket path holds at most {MAX_SOCKET_PATH_BYTES} bytes"
            ));
        }
        AbsolutePath::try_from(path)
            .map(|path| Self(path.0))
            .map_err(|_| {
                format!(
                    "`{}` is not a unix socket; write `/run/…/name.sock` or `unix:///run/…/name.sock`",
                    text.escape_default()
                )
            })
    }
}

/// A length of time: `"500ms"`, `"3s"`, `"5m"`, `"4h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let each = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        number
            .parse::<u64>()
            .ok()
            .zip(each)
            .and_then(|(number, each)| number.checked_mul(each))
            .filter(|milliseconds| *milliseconds > 0)
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .ok_or_else(|| {
                format!(
                    "`{}` is not a length of time; write `500ms`, `3s`, `5m` or `4h`",
                    text.escape_default()
                )
            })
    }
}

/// Bytes: `65536`, `"64KiB"`, `"4MiB"`; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

/// A number of things; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(NumberOrText {
                works: "bytes as `65536`, `64KiB` or `4MiB`, more than zero",
                units: &[("KiB", 1024), ("MiB", 1024 * 1024)],
            })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(NumberOrText {
                works: "a whole number, more than zero",
                units: &[],
            })
            .map(Self)
    }
}

struct NumberOrText {
    works: &'static str,
    units: &'static [(&'static str, usize)],
}

impl Visitor<'_> for NumberOrText {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.works)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<usize, E> {
        usize::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| E::custom(format!("`{number}` does not work; it takes {}", self.works)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<usize, E> {
        usize::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| E::custom(format!("`{number}` does not work; it takes {}", self.works)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<usize, E> {
        self.units
            .iter()
            .find_map(|(unit, each)| {
                let number = text.strip_suffix(unit)?.trim_end();
                number.parse::<usize>().ok()?.checked_mul(*each)
            })
            .filter(|number| *number > 0)
            .ok_or_else(|| {
                E::custom(format!(
                    "`{}` does not work; it takes {}",
                    text.escape_default(),
                    self.works
                ))
            })
    }
}

/// An image reference with a tag or a digest, normalised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ImageName(pub(crate) Reference);

impl TryFrom<String> for ImageName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Reference::parse(&text)
            .map(Self)
            .map_err(|error| format!("`{}`: {error}", text.escape_default()))
    }
}

/// A metrics address: loopback with a port, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct MetricsAddress(pub(crate) Option<SocketAddr>);

impl TryFrom<String> for MetricsAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse::<SocketAddr>()
            .ok()
            .filter(|address| address.ip().is_loopback())
            .map(|address| Self(Some(address)))
            .ok_or_else(|| {
                format!(
                    "`{}` is not a loopback address with a port; write `127.0.0.1:9464`, `[::1]:9464` or `off`",
                    text.escape_default()
                )
            })
    }
}

/// A name that ends up in logs, file names or policies: printable ASCII without spaces, 1 to 253
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Word(pub(crate) String);

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > 253 || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "`{}` does not work; write 1 to 253 printable characters without spaces",
                text.escape_default()
            ));
        }
        Ok(Self(text))
    }
}

/// A key that this version knows by name and refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotYet;

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "belongs to signed policy bundles, which this version does not read yet; \
             use `local = \"/etc/pullguard/policy\"` in `[policy]`",
        ))
    }
}
