//! What policy may see of a CRI call. Pure.

mod view;

pub use view::{
    Container, CreateAsk, Flag, IdRange, ImageStatusAsk, Mount, MountSource, NamespaceMode,
    Namespaces, Pod, PodSource, Profile, Propagation, PullAsk, Sandbox, SeLinux, UserNamespace,
};
