//! The CRI messages that the guard reads. Pure.
