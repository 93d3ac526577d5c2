//! The viewer from outside.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cases;
mod html;
mod laws;
mod server;
mod timeline;
