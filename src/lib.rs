//! A CRI guard between the kubelet and containerd.
//!
//! ```text
//!  kubelet                                                                                    containerd
//!     │ unix socket                                                                                ▲
//!     ▼                                                                                            │ original bytes (+ appended edit)
//!  relay ─RawCall→ request::decode ─Request→ policy.plan ─Plan→ gather ─Evidence→ verify ─Proofs→ conclude ─Permit→ relay
//!                      pure                     pure        I/O, maybe none       pure              pure  └Denial→ kubelet
//! ```
//!
//! Modules stand in reading order; a module imports only from those above it. Start reading at
//! [`guard`].

// Pure: values in, values out. No async, clock, files, sockets or logging.
pub mod api;
pub mod time;
pub mod limits;
pub mod image;
pub mod request;
pub mod verify;
pub mod policy;

// Edges: the only modules that touch the world.
pub mod clock;
pub mod host;
pub mod containerd;
pub mod registry;
pub mod store;
pub mod sync;
pub mod relay;
pub mod report;

// Assembly.
pub mod guard;
pub mod settings;
pub mod daemon;

// The operator's half; the daemon's modules never import it.
pub mod authoring;
pub mod cli;
