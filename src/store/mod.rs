//! What survives a restart: facts that save work (ledger), what was on the node before the guard
//! (adoption record), what was let start (admissions), the last good policy. Nothing here is a
//! verdict, and nothing here holds a decision up: reads come from memory, writes go to a thread of
//! their own. A file that is torn, foreign or of a later version is set aside or skipped, never
//! believed and never fatal. Refuses: a state directory that others own or may write.

mod admissions;
mod adoption;
mod bounded;
mod directory;
mod disk;
mod fact;
mod file;
mod last_policy;
mod ledger;
mod writer;

pub use admissions::{Admission, Admissions};
pub use adoption::{AdoptedImage, AdoptionError, AdoptionRecord};
pub use directory::{StateDir, StateDirError, Usage};
pub use fact::{CarriedPull, ChainFact, ContainerFact, PlatformFact, SandboxFact};
pub use last_policy::{LastPolicyError, load_last_policy, save_last_policy};
pub use ledger::Ledger;
pub use writer::Persistence;
