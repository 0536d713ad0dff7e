//! What a registry's silence, refusal or lie is called. Pure. The texts name a class and nothing
//! that changes between two tries, so that the kubelet sees the same line each time.

use std::fmt;

use crate::policy::Code;

/// Why a registry gave no usable answer. The first three are answers or the lack of one; they are
/// never taken for each other: absent, refused and "could not tell" are different results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// Every host that was asked answered 404.
    NotFound,
    /// 401 or 403, after the credentials that there are were tried.
    Refused,
    /// No answer, or one that says nothing about the image (429, 5xx): could not tell.
    Unreachable {
        /// What kind of silence.
        cause: Cause,
    },
    /// An answer that breaks the rules that the guard holds registries to.
    Bad {
        /// Which rule.
        fault: Fault,
    },
    /// The node's own settings cannot be followed; nothing is known about the image.
    Unsupported {
        /// Which setting.
        setup: Setup,
    },
}

/// Why a registry could not be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host name has no address, or the resolver did not answer.
    NoAddress,
    /// No connection, or one that broke before the answer.
    NoConnection,
    /// Nothing within the time limit.
    TimedOut,
    /// A body below the least rate.
    TooSlow,
    /// A body that ended early.
    Interrupted,
    /// 429.
    RateLimited,
    /// 5xx, or 408.
    ServerError,
    /// All of the guard's own fetch slots stayed in use until the deadline.
    Busy,
    /// The TLS handshake failed.
    Tls(TlsFault),
}

/// What was wrong in a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is past its end.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// No trusted certificate authority signed it.
    UnknownIssuer,
    /// It is for another host name.
    WrongName,
    /// Another fault of the certificate.
    Certificate,
    /// Anything else, a server that does not speak TLS included.
    Handshake,
}

/// Which rule an answer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP, or a header that is not text.
    Malformed,
    /// The body hashes to something else than the digest asked for.
    DigestMismatch,
    /// `Docker-Content-Digest` differs from the hash of the body, or is no sha256 digest.
    DigestHeader,
    /// A body over its limit in bytes.
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Header lines over their limit in bytes.
    HeadersTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A `Content-Encoding`: the guard never inflates.
    Encoded,
    /// A status that the protocol has no meaning for here.
    Status {
        /// The status code.
        code: u16,
    },
    /// A redirect without a usable `Location`.
    RedirectTarget,
    /// A redirect to another scheme.
    RedirectScheme,
    /// More redirects than are followed.
    RedirectCount {
        /// How many are followed.
        limit: usize,
    },
    /// A redirect or token realm at a loopback, link-local or metadata address.
    LocalAddress,
    /// A challenge that is not Basic or Bearer with a usable realm.
    Challenge,
    /// A token realm without TLS for a registry that has it, or of no web scheme.
    RealmScheme,
    /// A token realm at a host that credentials of this registry may not go to.
    RealmHost {
        /// That host, port included if it is written.
        host: String,
    },
    /// An answer of the token server that holds no token.
    Token,
    /// A repository path, tag or host that cannot stand in a URL.
    Name,
}

/// Which setting of the node stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setup {
    /// A hosts.toml or a directory of it that cannot be followed.
    Hosts {
        /// The file or directory.
        path: String,
        /// What is not supported or malformed.
        reason: String,
    },
    /// A certificate or key file that cannot be read.
    Certificate {
        /// The file.
        path: String,
    },
    /// The node's credentials file cannot be read or is no docker config.json.
    Credentials {
        /// The file.
        path: String,
    },
    /// The credentials file names a helper for this host; the guard executes none.
    CredentialHelper {
        /// The registry host.
        host: String,
    },
    /// The pull's own credentials cannot be decoded.
    PullAuth,
    /// The proxy setting is no URL of a proxy.
    Proxy,
    /// No host of hosts.toml has the capability that the request needs.
    NoHost,
}

impl RegistryError {
    /// The denial code that says this. A setting that cannot be followed leaves the image
    /// unjudged, as silence does; an answer that breaks a rule proves nothing of the image.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::ImgNotFound,
            Self::Refused => Code::ImgRefused,
            Self::Unreachable { .. } | Self::Unsupported { .. } => Code::ImgUnreachable,
            Self::Bad {
                fault: Fault::TooLarge { .. } | Fault::HeadersTooLarge { .. },
            } => Code::Limit,
            Self::Bad { .. } => Code::ImgUnproven,
        }
    }

    /// Which of two failures of one request speaks for it, the higher one: a host that could not
    /// be asked outweighs every answer, since its answer is missing; then a bad answer, then a
    /// refusal; "absent" only if all hosts said so. Between equals the first asked speaks.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::NotFound => 0,
            Self::Refused => 1,
            Self::Bad { .. } => 2,
            Self::Unsupported { .. } => 3,
            Self::Unreachable { .. } => 4,
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the registry does not have it"),
            Self::Refused => f.write_str("the registry refused access"),
            Self::Unreachable { cause } => write!(f, "the registry could not be asked: {cause}"),
            Self::Bad { fault } => write!(f, "the registry's answer is not acceptable: {fault}"),
            Self::Unsupported { setup } => write!(f, "this node's registry settings: {setup}"),
        }
    }
}

impl std::error::Error for RegistryError {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAddress => "its name has no address",
            Self::NoConnection => "no connection",
            Self::TimedOut => "no answer in time",
            Self::TooSlow => "the answer came too slowly",
            Self::Interrupted => "the answer ended early",
            Self::RateLimited => "it limits the rate of requests (429)",
            Self::ServerError => "it failed (5xx)",
            Self::Busy => "all of the guard's own fetches were busy",
            Self::Tls(fault) => return write!(f, "TLS: {fault}"),
        })
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::UnknownIssuer => "its certificate is from no trusted authority",
            Self::WrongName => "its certificate is for another host name",
            Self::Certificate => "its certificate is not acceptable",
            Self::Handshake => "the handshake failed",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is malformed"),
            Self::DigestMismatch => f.write_str("the content has another digest"),
            Self::DigestHeader => {
                f.write_str("its Docker-Content-Digest is not the digest of the content")
            }
            Self::TooLarge { limit } => write!(f, "it is over {limit} bytes"),
            Self::HeadersTooLarge { limit } => write!(f, "its headers are over {limit} bytes"),
            Self::Encoded => f.write_str("it has a Content-Encoding"),
            Self::Status { code } => write!(f, "it has the status {code}"),
            Self::RedirectTarget => f.write_str("it redirects without a usable Location"),
            Self::RedirectScheme => f.write_str("it redirects to another scheme"),
            Self::RedirectCount { limit } => write!(f, "it redirects more than {limit} times"),
            Self::LocalAddress => f.write_str(
                "it points to a loopback or link-local address, which only a registry on loopback may",
            ),
            Self::Challenge => f.write_str("its authentication challenge is not understood"),
            Self::RealmScheme => f.write_str("its token realm has an unsafe scheme"),
            Self::RealmHost { host } => write!(
                f,
                "its token realm is at `{host}`, another host; if that is right, add it to `token_hosts`"
            ),
            Self::Token => f.write_str("its token server gave no token"),
            Self::Name => f.write_str("its name cannot stand in a URL"),
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts { path, reason } => write!(f, "`{path}`: {reason}"),
            Self::Certificate { path } => {
                write!(f, "`{path}` cannot be read as a PEM certificate or key")
            }
            Self::Credentials { path } => {
                write!(f, "`{path}` cannot be read as a docker config.json")
            }
            Self::CredentialHelper { host } => write!(
                f,
                "the credentials of `{host}` come from a credential helper, which is never executed; write them into `auths`"
            ),
            Self::PullAuth => f.write_str("the pull's credentials cannot be decoded"),
            Self::Proxy => f.write_str("`proxy` is not the URL of a proxy"),
            Self::NoHost => f.write_str("no host of hosts.toml has the capability for this"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Kind;

    fn kind(error: &RegistryError) -> Kind {
        error.code().kind()
    }

    #[test]
    fn silence_and_broken_settings_are_undecided() {
        let cause = Cause::TimedOut;
        let setup = Setup::NoHost;
        assert_eq!(kind(&RegistryError::Unreachable { cause }), Kind::Undecided);
        assert_eq!(kind(&RegistryError::Unsupported { setup }), Kind::Undecided);
    }

    #[test]
    fn answers_are_definite() {
        let fault = Fault::DigestMismatch;
        assert_eq!(kind(&RegistryError::NotFound), Kind::Definite);
        assert_eq!(kind(&RegistryError::Refused), Kind::Definite);
        assert_eq!(kind(&RegistryError::Bad { fault }), Kind::Definite);
    }

    #[test]
    fn every_text_is_one_plain_line() {
        let errors = [
            RegistryError::NotFound,
            RegistryError::Refused,
            RegistryError::Unreachable {
                cause: Cause::Tls(TlsFault::Expired),
            },
            RegistryError::Bad {
                fault: Fault::RealmHost {
                    host: "t.example:5001".to_owned(),
                },
            },
            RegistryError::Unsupported {
                setup: Setup::CredentialHelper {
                    host: "r.example".to_owned(),
                },
            },
        ];
        for error in errors {
            let text = error.to_string();
            let first = text.chars().next().unwrap();
            assert!(first.is_ascii_lowercase(), "{text}");
            assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
            assert!(!text.ends_with('.') && text.len() < 256, "{text}");
        }
    }
}
