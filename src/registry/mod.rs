//! What the guard asks of registries.
