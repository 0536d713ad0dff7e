//! What is said about each decision.
