//! pullguard
