//! What the node is told: `/etc/pullguard/pullguard.toml`.
