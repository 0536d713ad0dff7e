//! Why a question to containerd has no answer.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

/// Longest part of a text of containerd's that is repeated, in characters.
const MAX_REPEATED: usize = 300;

/// Why containerd gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerdError {
    /// The socket is away, or containerd says that it is not ready.
    Unavailable {
        /// What was asked.
        asked: &'static str,
        /// containerd's or the system's words, one line.
        text: String,
    },
    /// No answer within the time that the question was given.
    Timeout {
        /// What was asked.
        asked: &'static str,
        /// The time it was given.
        after: Duration,
    },
    /// containerd has no such object.
    NotFound {
        /// What was asked.
        asked: &'static str,
        /// The name or id that was asked for.
        name: String,
    },
    /// containerd refused, with another code than the above.
    Refused {
        /// What was asked.
        asked: &'static str,
        /// The gRPC status code's number.
        code: i32,
        /// containerd's words, one line.
        text: String,
    },
    /// The answer is over a limit.
    TooLarge {
        /// What was asked for.
        name: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer contradicts what was asked: bytes that are not their digest, an ID that is no
    /// digest, a record that points elsewhere.
    Bad {
        /// What was asked for.
        name: String,
        /// What is wrong, in product words.
        why: String,
    },
}

impl ContainerdError {
    /// What was asked for: a name or an ID where there is one, else the kind of question.
    pub fn asked(&self) -> &str {
        match self {
            Self::Unavailable { asked, .. }
            | Self::Timeout { asked, .. }
            | Self::Refused { asked, .. } => asked,
            Self::NotFound { name, .. } | Self::TooLarge { name, .. } | Self::Bad { name, .. } => {
                name
            }
        }
    }

    /// Whether this says "could not tell" (true) or "bad" (false): only an answer that contradicts
    /// the question or a limit is bad, everything else may change by itself.
    pub fn is_undecided(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. } => true,
            Self::TooLarge { .. } | Self::Bad { .. } => false,
        }
    }

    pub(crate) fn from_status(
        asked: &'static str,
        name: &str,
        within: Duration,
        from: &Status,
    ) -> Self {
        let text = one_line(from.message());
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "tonic's codes, not ours: all the others are one case here"
        )]
        match from.code() {
            Code::NotFound => Self::NotFound {
                asked,
                name: name.to_owned(),
            },
            Code::Unavailable => Self::Unavailable { asked, text },
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout {
                asked,
                after: within,
            },
            code => Self::Refused {
                asked,
                code: i32::from(code),
                text: one_line(&with_causes(from)),
            },
        }
    }
}

impl fmt::Display for ContainerdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { asked, text } => {
                write!(f, "containerd is not available for {asked}: {text}")
            }
            Self::Timeout { asked, after } => {
                write!(
                    f,
                    "containerd did not answer {asked} within {} ms",
                    after.as_millis()
                )
            }
            Self::NotFound { asked, name } => write!(f, "{asked}: containerd has no `{name}`"),
            Self::Refused { asked, code, text } => {
                write!(f, "containerd refused {asked} with code {code}: {text}")
            }
            Self::TooLarge { name, limit } => {
                write!(f, "`{name}` in containerd is over {limit} bytes")
            }
            Self::Bad { name, why } => write!(f, "`{name}` in containerd is not usable: {why}"),
        }
    }
}

impl std::error::Error for ContainerdError {}

/// What a status says, and what made it where that was not containerd but the connection: `transport
/// error` alone tells nobody anything.
fn with_causes(status: &Status) -> String {
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    causes.fold(status.message().to_owned(), |text, cause| {
        format!("{text}: {cause}")
    })
}

/// The text without control characters and of bounded length: it may end in a denial or a log line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REPEATED)
        .collect()
}
