//! What the guard may know of a CRI call: which method, whether its bytes are sound, what policy may
//! see of it, and how an answer or an edit is written. Pure. Refuses: all that is not exactly one
//! sound, known request.
//!
//! ```text
//!  :path ─Method::from_path→ Method   body ─unframe→ message ─decode (scan, read)→ Decoded(Request)
//!                                                            ─edit→ Edited ─frame→ body
//! ```

mod ask;
#[cfg(test)]
mod build;
mod decode;
mod edit;
mod answer;
pub mod frame;
mod hygiene;
mod method;
mod read;
mod record;
mod recorded;
pub mod scan;
mod schema;
mod view;
mod wire;

pub use answer::{
    AnswerError, EMPTY_IMAGE_STATUS, created_container, created_sandbox, pulled_image,
};
pub use ask::{ExecAsk, PullCredentials, Request, UpdateAsk};
pub use decode::{Decoded, decode};
pub use edit::{EditError, Edited, Limits, fill_limits, name_image, pin_pull};
pub use frame::{arriving, frame, unframe};
pub use hygiene::{Fault, FrameFault, HygieneError, HygieneKind, UnknownField};
pub use method::{GatedMethod, Handling, Method, Service, Shape};
pub use record::{Readiness, RecordError, SandboxRecord, sandbox_from_status};
pub use recorded::{RecordedError, recorded_create, recorded_sandbox};
pub use scan::{Tolerated, scan};
pub use view::{
    Container, CreateAsk, Flag, IdRange, ImageStatusAsk, Mount, MountSource, NamespaceMode,
    Namespaces, Pod, PodSource, Profile, Propagation, PullAsk, ResourceChange, Sandbox, SeLinux,
    UserNamespace,
};
