//! From YAML to policy.
