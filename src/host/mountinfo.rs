//! `/proc/self/mountinfo` as a table (proc_pid_mountinfo(5)). The parser is pure. Refuses: lines
//! that are not of that form; a table with one bad line is no table.

use std::fmt;

/// The suffix that the kernel gives to a root that was removed (`d_path` in fs/d_path.c).
const DELETED: &[u8] = b"//deleted";

/// A filesystem's device number as mountinfo shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// One mount. Paths are bytes: the kernel knows no encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id, unique while it lives.
    pub id: u64,
    /// Device of its filesystem.
    pub device: Device,
    /// The directory (or file) of that filesystem which is mounted, unescaped.
    pub root: Vec<u8>,
    /// Where, unescaped.
    pub point: Vec<u8>,
    /// Filesystem type.
    pub kind: Vec<u8>,
}

impl Mount {
    /// Whether what is mounted was removed since: then its root tells nothing.
    pub fn is_deleted(&self) -> bool {
        self.root.ends_with(DELETED)
    }
}

/// Every mount of the guard's mount namespace, in the kernel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountTable(Vec<Mount>);

/// A line that is not of the form of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfoError {
    /// Its number, from 1.
    pub line: usize,
}

impl fmt::Display for MountInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of mountinfo is not a mount", self.line)
    }
}

impl std::error::Error for MountInfoError {}

impl MountTable {
    /// Reads the text of a mountinfo file.
    ///
    /// # Errors
    /// [`MountInfoError`] at the first line that is not of the form.
    pub fn parse(text: &[u8]) -> Result<Self, MountInfoError> {
        text.split(|byte| *byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
            .map(|(at, line)| mount(line).ok_or(MountInfoError { line: at + 1 }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The mounts in the kernel's order.
    pub fn mounts(&self) -> &[Mount] {
        &self.0
    }

    /// The mount with this id.
    pub fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent: u64 = number(fields.next()?)?;
    let device = device(fields.next()?)?;
    let root = path(fields.next()?)?;
    let point = path(fields.next()?)?;
    let _options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let kind = unescape(fields.next()?)?;
    Some(Mount {
        id,
        device,
        root,
        point,
        kind,
    })
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn device(field: &[u8]) -> Option<Device> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some(Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// A root is not always a path (`net:[4026531840]` for a namespace file): it then equals no path.
fn path(field: &[u8]) -> Option<Vec<u8>> {
    unescape(field).filter(|path| !path.is_empty())
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_first_chunk::<3>()?;
        let mut value = 0_u32;
        for digit in digits {
            value = value * 8 + char::from(*digit).to_digit(8)?;
        }
        out.push(u8::try_from(value).ok()?);
        rest = tail;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_position_and_the_optional_ones_skipped() {
        let text = b"36 35 253:0 /etc/bar /var/lib/kubelet/pods/12345/volume-subpaths/vol1/subpath1/0 rw,relatime shared:1 master:2 - ext4 /dev/mapper/x rw\n";
        let table = MountTable::parse(text).unwrap();
        assert_eq!(
            table.by_id(36),
            Some(&Mount {
                id: 36,
                device: Device {
                    major: 253,
                    minor: 0
                },
                root: b"/etc/bar".to_vec(),
                point: b"/var/lib/kubelet/pods/12345/volume-subpaths/vol1/subpath1/0".to_vec(),
                kind: b"ext4".to_vec(),
            })
        );
    }

    #[test]
    fn octal_escapes_stand_for_bytes() {
        let text = b"1 1 0:1 / /a\\040b\\011c\\012d\\134e rw - tmpfs none rw";
        let table = MountTable::parse(text).unwrap();
        assert_eq!(table.mounts()[0].point, b"/a b\tc\nd\\e".to_vec());
    }

    #[test]
    fn a_broken_escape_is_no_mount() {
        for point in ["/a\\04", "/a\\049", "/a\\777", "/a\\"] {
            let text = format!("1 1 0:1 / / rw - x y z\n1 1 0:1 / {point} rw - tmpfs none rw\n");
            assert_eq!(
                MountTable::parse(text.as_bytes()),
                Err(MountInfoError { line: 2 })
            );
        }
    }

    #[test]
    fn a_line_without_the_separator_is_no_mount() {
        let error = MountTable::parse(b"1 1 0:1 / /a rw tmpfs none rw").unwrap_err();
        assert_eq!(error.to_string(), "line 1 of mountinfo is not a mount");
    }

    #[test]
    fn a_removed_root_is_told() {
        let text = b"1 1 0:1 /x//deleted /a rw - tmpfs none rw";
        assert!(MountTable::parse(text).unwrap().mounts()[0].is_deleted());
    }

    #[test]
    fn an_empty_table_is_a_table() {
        assert_eq!(MountTable::parse(b"").unwrap().mounts(), &[]);
    }
}
