//! The `k25` command.
fn main() {}
