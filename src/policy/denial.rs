//! Denial codes and denials: the product's words for a refusal. Pure.

use std::fmt;

use super::words::{self, Text};

/// Whether a denial says "bad" or "could not tell": they differ in code, status and retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The rule was judged and it is broken.
    Definite,
    /// What the rule needs could not be had (registry away, containerd away).
    Undecided,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident;)*) => {
        /// A stable denial code. Each has a section in docs/denials.md, and `pullguard explain CODE`
        /// prints it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as people and machines read it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether it says "bad" or "could not tell".
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

codes! {
    /// The image string is none that the guard accepts.
    RefInvalid = "REF-INVALID", Definite;
    /// The registry or repository is not allowed.
    RegDenied = "REG-DENIED", Definite;
    /// The pod must name a digest.
    ImgDigestRequired = "IMG-DIGEST-REQUIRED", Definite;
    /// Bytes or name of the image are not proven.
    ImgUnproven = "IMG-UNPROVEN", Definite;
    /// The registry did not answer, or with 429 or 5xx.
    ImgUnreachable = "IMG-UNREACHABLE", Undecided;
    /// The registry answered 401 or 403.
    ImgRefused = "IMG-REFUSED", Definite;
    /// The registry answered 404.
    ImgNotFound = "IMG-NOT-FOUND", Definite;
    /// The image's documents break the rules that the guard holds them to.
    ImgConfig = "IMG-CONFIG", Definite;
    /// No enforcing rule covers the image, and `unmatched.images` is Deny.
    ImgUnmatched = "IMG-UNMATCHED", Definite;
    /// No enforcing policy covers the pod, and `unmatched.pods` is Deny.
    PodUnmatched = "POD-UNMATCHED", Definite;
    /// Privileged, or equal to it.
    PodPrivileged = "POD-PRIVILEGED", Definite;
    /// Runs as root, or may.
    PodRoot = "POD-ROOT", Definite;
    /// Mounts a host path that is not allowed.
    PodHostpath = "POD-HOSTPATH", Definite;
    /// What stands behind a mount could not be told.
    PodMountUnknown = "POD-MOUNT-UNKNOWN", Undecided;
    /// Uses a namespace of the host.
    PodHostNamespace = "POD-HOST-NAMESPACE", Definite;
    /// Takes a port of the host that is not allowed.
    PodHostPort = "POD-HOST-PORT", Definite;
    /// Adds a capability that is not allowed, or keeps one that must be dropped.
    PodCapability = "POD-CAPABILITY", Definite;
    /// A seccomp profile that is not allowed, or none.
    PodSeccomp = "POD-SECCOMP", Definite;
    /// An AppArmor profile that is not allowed, or none.
    PodApparmor = "POD-APPARMOR", Definite;
    /// An SELinux label that is not allowed.
    PodSelinux = "POD-SELINUX", Definite;
    /// A kernel setting that is not allowed.
    PodSysctl = "POD-SYSCTL", Definite;
    /// Paths of /proc and /sys are not masked.
    PodProcMount = "POD-PROC-MOUNT", Definite;
    /// Processes may gain privileges.
    PodEscalation = "POD-ESCALATION", Definite;
    /// A mount propagation that is not allowed.
    PodPropagation = "POD-PROPAGATION", Definite;
    /// A type of volume that is not allowed.
    PodVolume = "POD-VOLUME", Definite;
    /// A device that is not allowed.
    PodDevice = "POD-DEVICE", Definite;
    /// Group 0, or a group that cannot be told.
    PodGroup = "POD-GROUP", Definite;
    /// An annotation that is not allowed.
    PodAnnotation = "POD-ANNOTATION", Definite;
    /// A limit that is missing, or above the maximum.
    PodResources = "POD-RESOURCES", Definite;
    /// Logs outside the pod's own directory.
    PodLogPath = "POD-LOG-PATH", Definite;
    /// A command in a running container, where policy allows none.
    PodExec = "POD-EXEC", Definite;
    /// The call and containerd's own record disagree about the sandbox.
    PodSandbox = "POD-SANDBOX", Definite;
    /// The pod's runtime handler breaks the chain that image rules stand on.
    PodRuntimeHandler = "POD-RUNTIME-HANDLER", Definite;
    /// A method that the guard refuses.
    RpcRefused = "RPC-REFUSED", Definite;
    /// A request that is not well formed.
    RpcMalformed = "RPC-MALFORMED", Definite;
    /// A request with a field that the guard does not know.
    RpcUnknownField = "RPC-UNKNOWN-FIELD", Definite;
    /// Over a limit.
    Limit = "LIMIT", Definite;
    /// There is no policy yet.
    StateBootstrap = "STATE-BOOTSTRAP", Undecided;
    /// containerd did not answer the guard's own question.
    RuntimeUnavailable = "RUNTIME-UNAVAILABLE", Undecided;
    /// The guard itself failed; the call was refused, nothing was let through.
    Internal = "INTERNAL", Undecided;
}

impl Code {
    /// The code that is written so; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The code that leads a line as a client gets it, behind a prefix of the kubelet's perhaps.
    pub fn leading(line: &str) -> Option<Self> {
        line.split([' ', ':'])
            .filter(|word| !word.is_empty())
            .take(2)
            .find_map(Self::parse)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of a pod a denial speaks of, where the kubelet shows a reason of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The container, the sandbox or the call itself.
    Call,
    /// An image volume: the kubelet shows `ImageVolumeMountFailed`.
    ImageVolume,
    /// The message itself: hygiene, judged before anything is understood of it, and its size.
    Message,
}

/// A refusal: a code, where it comes from, and one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    code: Code,
    rule: Option<(String, String)>,
    text: Text,
    subject: Subject,
}

impl Denial {
    /// A denial outside any policy rule (hygiene, state, reference): `text` says object, offending
    /// value in backticks, and what to change, without the code. What is not printable ASCII is
    /// escaped, and a text that is too long is cut.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self::say(code, Text::new().raw(&text.into()))
    }

    /// A denial in typed parts: ``object `value`; advice``. `object` and `advice` are the guard's
    /// own words, `value` comes from outside and is escaped and shortened.
    pub fn build(
        code: Code,
        rule: Option<(&str, &str)>,
        object: &'static str,
        value: &str,
        advice: &'static str,
    ) -> Self {
        let denial = Self::say(
            code,
            Text::new()
                .words(object)
                .words(" ")
                .value(value)
                .advice(advice),
        );
        match rule {
            Some((policy, rule)) => denial.with_rule(policy, rule),
            None => denial,
        }
    }

    /// A denial of a [`Text`].
    pub fn say(code: Code, text: Text) -> Self {
        Self {
            code,
            rule: None,
            text,
            subject: Subject::Call,
        }
    }

    /// The same denial, said by `policy/rule`.
    #[must_use]
    pub fn with_rule(mut self, policy: &str, rule: &str) -> Self {
        self.rule = Some((policy.to_owned(), rule.to_owned()));
        self
    }

    /// The same denial with another last part: a rule's `message`.
    #[must_use]
    pub fn with_advice(mut self, advice: &str) -> Self {
        self.text = self.text.advice_of(advice);
        self
    }

    /// The same denial, about an image volume.
    #[must_use]
    pub fn of_image_volume(mut self) -> Self {
        self.subject = Subject::ImageVolume;
        self
    }

    /// The same denial, about the received message.
    #[must_use]
    pub fn of_message(mut self) -> Self {
        self.subject = Subject::Message;
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it speaks of.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Policy and rule, where a rule speaks.
    pub fn rule(&self) -> Option<(&str, &str)> {
        self.rule
            .as_ref()
            .map(|(policy, rule)| (policy.as_str(), rule.as_str()))
    }

    /// The whole line that a person reads: code, policy/rule, text. One line of printable ASCII,
    /// under 512 bytes.
    pub fn line(&self) -> String {
        self.line_after("")
    }

    /// The same line behind a prefix of the kubelet's, under 512 bytes with it.
    pub(crate) fn line_after(&self, prefix: &str) -> String {
        let head = match &self.rule {
            Some((policy, rule)) => format!(
                "{prefix}{} {}/{}: ",
                self.code,
                words::escape(policy, words::NAME_BYTES),
                words::escape(rule, words::NAME_BYTES)
            ),
            None => format!("{prefix}{}: ", self.code),
        };
        self.text.fit(&head)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}
