//! What the guard asks of containerd.
