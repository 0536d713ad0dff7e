//! What the guard asks of the host: mounts, paths, peers.
