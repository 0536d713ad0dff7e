//! Why a request is not even judged. Every variant is a refusal; the text is one line. Pure.

use std::fmt;

/// What kind of refusal it is: gRPC status and denial code follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HygieneKind {
    /// Not well formed: INVALID_ARGUMENT, RPC-MALFORMED.
    Malformed,
    /// Over a limit: RESOURCE_EXHAUSTED, LIMIT.
    TooLarge,
    /// Compressed: UNIMPLEMENTED, RPC-REFUSED.
    Compressed,
    /// A field that the guard does not know: PERMISSION_DENIED, RPC-UNKNOWN-FIELD.
    UnknownField,
    /// Well formed, but nothing that a kubelet sends: PERMISSION_DENIED, RPC-REFUSED.
    Refused,
    /// The guard's own tables are broken: INTERNAL.
    Internal,
}

/// A field that is not in proto/runtime_v1.proto; shown as `Mount.12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownField {
    /// The message's name in runtime.v1, without the package.
    pub message: String,
    /// The field's number, 1 to 2^29 - 1.
    pub number: u32,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.number)
    }
}

/// What is wrong with a field (protobuf encoding guide, and stricter where two readers might differ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end inside it.
    Truncated,
    /// A varint longer than its value needs, or above 64 bits.
    Varint,
    /// A key with field number 0 or above 2^29 - 1, or wire type 6 or 7.
    Key,
    /// A group (wire types 3 and 4).
    Group,
    /// Another wire type than the field's.
    WireType,
    /// A singular field a second time.
    Twice,
    /// Two members of one oneof.
    Oneof,
    /// A map key a second time.
    MapKey,
    /// A bool that is neither 0 nor 1.
    Bool,
    /// A number that its type cannot hold.
    Range,
    /// An enum number that has no name.
    Enum(u64),
    /// A string that is not UTF-8.
    Utf8,
    /// Nested deeper than any CRI message.
    Depth,
    /// Not there, though every kubelet sends it.
    Missing,
    /// A mount with an image and a host path.
    ImageAndHostPath,
    /// A path that leaves the volume it is a path of.
    PathUp,
    /// A user namespace mode other than POD and NODE.
    UserNamespaceMode,
    /// An id that does not fit its place.
    Id,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ends too early",
            Self::Varint => "has a number that is not encoded in its shortest form",
            Self::Key => "has a field key that protobuf does not allow",
            Self::Group => "contains a group",
            Self::WireType => "has the wrong wire type",
            Self::Twice => "occurs twice",
            Self::Oneof => "excludes a field that is there too",
            Self::MapKey => "has one key twice",
            Self::Bool => "is a bool other than 0 and 1",
            Self::Range => "has a number that its type cannot hold",
            Self::Enum(number) => return write!(f, "has the unknown value `{number}`"),
            Self::Utf8 => "is not valid UTF-8",
            Self::Depth => "is nested too deeply",
            Self::Missing => "is missing",
            Self::ImageAndHostPath => "has an image and a host path",
            Self::PathUp => "is an absolute path or has `..` in it",
            Self::UserNamespaceMode => "is neither POD nor NODE",
            Self::Id => "has an id that does not fit 32 bits",
        })
    }
}

/// A body that is not exactly one gRPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// No message at all.
    Empty,
    /// The body ends inside the message.
    Short,
    /// Bytes after the message: a second message, or rubbish.
    Trailing,
    /// A flag byte other than 0 and 1.
    Flag(u8),
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the call carries no message",
            Self::Short => "the message ends too early",
            Self::Trailing => "bytes follow the message",
            Self::Flag(flag) => return write!(f, "the message has the unknown flag `{flag}`"),
        })
    }
}

/// Why a request is refused before policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HygieneError {
    /// The gRPC frame is not one whole message.
    Frame {
        /// How.
        fault: FrameFault,
    },
    /// The message is compressed, though nobody offered to read that.
    Compressed,
    /// The message is longer than the limit.
    TooLarge {
        /// What it announces, bytes.
        length: u64,
        /// The limit, bytes.
        limit: usize,
    },
    /// The message holds more elements than any pod needs.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A field is not as it must be.
    Field {
        /// `Message.field`, or `Message` where no field is known.
        place: String,
        /// How.
        fault: Fault,
    },
    /// Fields that the guard does not know and policy does not tolerate; sorted, each once, at
    /// least one, at most [`super::scan::MAX_REPORTED`].
    UnknownFields {
        /// Which.
        fields: Vec<UnknownField>,
    },
    /// An annotation in UpdateContainerResources, where no kubelet sends any.
    Annotation {
        /// Its key, as received.
        key: String,
    },
    /// The guard's own message table does not name the message.
    Schema {
        /// The message.
        message: &'static str,
    },
}

impl HygieneError {
    /// What kind of refusal it is.
    pub const fn kind(&self) -> HygieneKind {
        match self {
            Self::Frame { .. } | Self::Field { .. } => HygieneKind::Malformed,
            Self::Compressed => HygieneKind::Compressed,
            Self::TooLarge { .. } | Self::TooMany { .. } => HygieneKind::TooLarge,
            Self::UnknownFields { .. } => HygieneKind::UnknownField,
            Self::Annotation { .. } => HygieneKind::Refused,
            Self::Schema { .. } => HygieneKind::Internal,
        }
    }

    /// The fields that the guard does not know, if that is what it is.
    pub fn unknown_fields(&self) -> &[UnknownField] {
        if let Self::UnknownFields { fields } = self {
            fields
        } else {
            &[]
        }
    }

    /// The fault of a field, if that is what it is.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if let Self::Field { fault, .. } = self {
            Some(*fault)
        } else {
            None
        }
    }

    /// A fault of `place`.
    pub(crate) fn field(place: impl Into<String>, fault: Fault) -> Self {
        Self::Field {
            place: place.into(),
            fault,
        }
    }
}

impl fmt::Display for HygieneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { fault } => write!(f, "{fault}"),
            Self::Compressed => f.write_str("the message is compressed"),
            Self::TooLarge { length, limit } => {
                write!(
                    f,
                    "the message has {length} bytes; at most {limit} are read"
                )
            }
            Self::TooMany { limit } => {
                write!(
                    f,
                    "the message has too many elements; at most {limit} are read"
                )
            }
            Self::Field { place, fault } => write!(f, "field `{place}` {fault}"),
            Self::UnknownFields { fields } => {
                f.write_str("the request has fields that this version does not know:")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma} `{field}`")?;
                }
                Ok(())
            }
            Self::Annotation { key } => {
                write!(
                    f,
                    "annotation `{}` is not allowed when resources change",
                    shown(key)
                )
            }
            Self::Schema { message } => {
                write!(f, "the guard does not know its own message `{message}`")
            }
        }
    }
}

impl std::error::Error for HygieneError {}

/// A value of the caller's: printable ASCII, the rest as `\xNN`; over 120 characters the first 60
/// and the last 57.
fn shown(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte == b' ' || byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if text.len() <= 120 {
        return text;
    }
    // The text is ASCII: every byte is a character.
    let first: String = text.chars().take(60).collect();
    let last: String = text.chars().skip(text.len().saturating_sub(57)).collect();
    format!("{first}...{last}")
}
