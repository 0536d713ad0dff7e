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
        /// What kind of silence: the registry's own, where it was asked.
        cause: Cause,
        /// Whether no host gave an answer, mirrors included. If not, another answer is known, and
        /// only the registry's own is missing.
        every_host: bool,
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
    /// No connection.
    NoConnection,
    /// No connection within the time limit, the TLS handshake included.
    ConnectTimedOut,
    /// A connection, and nothing on it within the time limit.
    TimedOut,
    /// A body below the least rate.
    TooSlow,
    /// A connection that broke before the answer was whole.
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
    /// The server does not speak TLS.
    NotTls,
    /// Anything else.
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
    /// The disk with hosts.toml, certificates and credentials did not answer in time.
    Disk,
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

    /// Whether this is what `onError` may pass over: no host at all gave an answer, by no fault of
    /// an answer, of the node's settings or of the guard's own bounds (which a tenant can fill).
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable { cause, every_host } => {
                *every_host && !matches!(cause, Cause::Busy | Cause::Tls(_))
            }
            Self::NotFound | Self::Refused | Self::Bad { .. } | Self::Unsupported { .. } => false,
        }
    }

    /// What a denial says: the class of the cause and nothing that a hostile registry can vary
    /// from try to try. The detail is this error's `Display`, for the log and for people who ask.
    #[must_use]
    pub fn class(&self) -> String {
        let text = match self {
            Self::NotFound | Self::Refused | Self::Unsupported { .. } => return self.to_string(),
            Self::Unreachable { cause, .. } => match cause {
                Cause::NoAddress
                | Cause::NoConnection
                | Cause::ConnectTimedOut
                | Cause::TimedOut
                | Cause::TooSlow
                | Cause::Interrupted => "the registry could not be asked: no answer",
                Cause::RateLimited => "the registry could not be asked: it limits requests (429)",
                Cause::ServerError => "the registry could not be asked: it failed (5xx)",
                Cause::Busy => "the registry could not be asked: too many fetches at once",
                Cause::Tls(_) => "the registry could not be asked: TLS failed",
            },
            Self::Bad {
                fault: Fault::TooLarge { .. } | Fault::HeadersTooLarge { .. },
            } => "the registry's answer is over its limit",
            Self::Bad { .. } => "the registry's answer is not acceptable",
        };
        text.to_owned()
    }

    /// Which of two definite failures speaks, the higher one: a setting that cannot be followed
    /// leaves a host's answer missing; then a bad answer, then a refusal; "absent" only if all
    /// hosts that answered said so.
    fn rank(&self) -> u8 {
        match self {
            Self::NotFound => 0,
            Self::Refused => 1,
            Self::Bad { .. } => 2,
            Self::Unsupported { .. } => 3,
            Self::Unreachable { .. } => 4,
        }
    }
}

/// The failures of one request at all hosts that were asked, and which of them speaks.
///
/// The registry's own host decides whether "the registry answered": its silence cannot be made up
/// for by a mirror that does not have the image, and a mirror's silence does not hide its answer.
/// Where it was not asked (it lacks the capability), the silence of any host outweighs the rest.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    own_answered: bool,
    own_silence: Option<Cause>,
    silence: Option<Cause>,
    answer: Option<RegistryError>,
}

impl Failures {
    /// Adds what one host's failure was; `own`: it is the registry's own host, not a mirror.
    pub(crate) fn add(&mut self, own: bool, error: RegistryError) {
        if let RegistryError::Unreachable { cause, .. } = error {
            self.silence.get_or_insert(cause);
            if own {
                self.own_silence.get_or_insert(cause);
            }
            return;
        }
        self.own_answered |= own;
        let outranks = |answer: &RegistryError| error.rank() > answer.rank();
        if self.answer.as_ref().is_none_or(outranks) {
            self.answer = Some(error);
        }
    }

    /// The failure that speaks for the request. Between equals the first asked does.
    pub(crate) fn speaks(self) -> RegistryError {
        let silence = match self.own_silence {
            _ if self.own_answered => None,
            Some(own) => Some(own),
            None => self.silence,
        };
        match (silence, self.answer) {
            (Some(cause), answer) => RegistryError::Unreachable {
                cause,
                every_host: answer.is_none(),
            },
            (None, Some(answer)) => answer,
            (None, None) => RegistryError::Unsupported {
                setup: Setup::NoHost,
            },
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the registry does not have it"),
            Self::Refused => f.write_str("the registry refused access"),
            Self::Unreachable { cause, .. } => {
                write!(f, "the registry could not be asked: {cause}")
            }
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
            Self::ConnectTimedOut => "no connection in time",
            Self::TimedOut => "no answer in time",
            Self::TooSlow => "the answer came too slowly",
            Self::Interrupted => "the connection broke before the answer was whole",
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
            Self::NotTls => "it does not speak TLS",
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
            Self::Disk => f.write_str("the disk that they are on does not answer"),
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

    fn silent(cause: Cause) -> RegistryError {
        RegistryError::Unreachable {
            cause,
            every_host: true,
        }
    }

    #[test]
    fn silence_that_on_error_may_pass_over_is_that_of_every_host() {
        assert!(silent(Cause::TimedOut).is_silence());
        assert!(silent(Cause::RateLimited).is_silence());
        let cause = Cause::TimedOut;
        let some = RegistryError::Unreachable {
            cause,
            every_host: false,
        };
        assert!(!some.is_silence());
    }

    #[test]
    fn a_setting_that_cannot_be_followed_is_no_silence() {
        let setup = Setup::NoHost;
        assert!(!RegistryError::Unsupported { setup }.is_silence());
        assert!(!silent(Cause::Busy).is_silence());
        assert!(!silent(Cause::Tls(TlsFault::Expired)).is_silence());
    }

    #[test]
    fn a_class_names_nothing_that_a_registry_can_choose() {
        let bad = |fault| RegistryError::Bad { fault }.class();
        let host = "one.example".to_owned();
        let first = bad(Fault::RealmHost { host });
        let host = "two.example".to_owned();
        assert_eq!(first, bad(Fault::RealmHost { host }));
        assert_eq!(first, bad(Fault::Status { code: 418 }));
        assert_eq!(
            silent(Cause::NoAddress).class(),
            silent(Cause::TooSlow).class()
        );
        assert_ne!(
            silent(Cause::RateLimited).class(),
            silent(Cause::TooSlow).class()
        );
    }

    #[test]
    fn silence_and_broken_settings_are_undecided() {
        let setup = Setup::NoHost;
        assert_eq!(kind(&silent(Cause::TimedOut)), Kind::Undecided);
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
            silent(Cause::Tls(TlsFault::Expired)),
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
