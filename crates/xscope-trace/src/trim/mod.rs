//! Cuts traces.
//!
//! [`trim`] keeps slices whole, so that a file still shows what really happened; [`clip`] cuts them at
//! the edges of a window, so that what is summed over the parts of a trace adds up to the whole;
//! [`xplane`] cuts an XPlane file without reading it into a trace.

mod slices;
mod stretch;
mod window;
pub mod xplane;

pub use slices::{Cut, Noise, Trimmed, trim};
pub use stretch::{around, step_numbers, steps};
pub use window::{Window, clip};
