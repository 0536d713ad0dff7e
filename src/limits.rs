//! Every bound on what comes from outside, in one place. Pure.

use std::time::Duration;

/// Bounds on everything that a kubelet, containerd, a registry or a policy hands in. Bytes unless
/// a name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One CRI message, either way: the kubelet's own bound (16 MiB).
    pub max_message_bytes: usize,
    /// Gated requests of more than 256 KiB held at once, all together (128 MiB).
    pub max_held_bytes: usize,
    /// Gated requests of at most 256 KiB held at once, all together (64 MiB).
    pub max_held_small_bytes: usize,
    /// From the head of a gated request to the end of its message (10 s).
    pub message_timeout: Duration,
    /// One manifest, index or image config document (4 MiB).
    pub max_manifest_bytes: usize,
    /// One answer of a token endpoint (64 KiB).
    pub max_token_bytes: usize,
    /// All header lines of one registry answer (64 KiB).
    pub max_header_bytes: usize,
    /// One policy document (4 MiB).
    pub max_policy_bytes: usize,
    /// Rules in one compiled policy (5,000).
    pub max_policy_rules: usize,
    /// Exceptions in one compiled policy (1,000).
    pub max_policy_exceptions: usize,
    /// Layers in one manifest (512).
    pub max_layers: usize,
    /// Manifests in one index (1,024).
    pub max_index_entries: usize,
    /// Nesting of any JSON document from outside (64).
    pub max_json_depth: usize,
    /// Connecting to one registry address (3 s).
    pub connect_timeout: Duration,
    /// From a sent request to its answer's headers (5 s).
    pub header_timeout: Duration,
    /// A body slower than this many bytes a second, after two seconds, is given up (16 KiB/s).
    pub min_body_bytes_per_second: u64,
    /// The guard's own fetching in one PullImage (60 s).
    pub pull_budget: Duration,
    /// The guard's own fetching in one CreateContainer (10 s).
    pub create_budget: Duration,
    /// Redirects followed for one request; never to another scheme (5).
    pub max_redirects: usize,
    /// Fetches at once, over all registries (64).
    pub max_fetches: usize,
    /// Fetches at once from one host (4).
    pub max_fetches_per_host: usize,
    /// Client connections at once on the guard's socket (256).
    pub max_connections: usize,
    /// From accept to the end of the HTTP/2 preface (5 s).
    pub handshake_timeout: Duration,
    /// How long a stopping daemon waits for calls in flight (10 s). A kubelet says that the
    /// container runtime is down 30 s after its last answer; the rest is for the next start.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        Self {
            max_message_bytes: 16 * MIB,
            max_held_bytes: 128 * MIB,
            max_held_small_bytes: 64 * MIB,
            message_timeout: Duration::from_secs(10),
            max_manifest_bytes: 4 * MIB,
            max_token_bytes: 64 * KIB,
            max_header_bytes: 64 * KIB,
            max_policy_bytes: 4 * MIB,
            max_policy_rules: 5_000,
            max_policy_exceptions: 1_000,
            max_layers: 512,
            max_index_entries: 1_024,
            max_json_depth: 64,
            connect_timeout: Duration::from_secs(3),
            header_timeout: Duration::from_secs(5),
            min_body_bytes_per_second: 16 * 1024,
            pull_budget: Duration::from_secs(60),
            create_budget: Duration::from_secs(10),
            max_redirects: 5,
            max_fetches: 64,
            max_fetches_per_host: 4,
            max_connections: 256,
            handshake_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
