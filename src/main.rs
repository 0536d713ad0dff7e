//! pullguard
fn main() {}
