//! The path of a guarded call.
