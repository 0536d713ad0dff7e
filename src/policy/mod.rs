//! The policy: what is asked of an image and a pod, and the words in which a denial is said. Pure.

mod denial;

pub use denial::{Code, Denial, Kind};
