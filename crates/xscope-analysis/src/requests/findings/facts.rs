//! What findings on requests are told from.

use xscope_trace::Trace;

use crate::requests::batches::BatchView;
use crate::requests::join::Join;
use crate::requests::launches::Launches;
use crate::requests::view::RequestView;

/// A trace and its requests.
pub(crate) struct Facts<'a> {
    pub trace: &'a Trace,
    pub join: &'a Join,
    pub launches: &'a Launches,
    pub views: &'a [RequestView],
    /// Those of them that figures are made of.
    pub measured: &'a [&'a RequestView],
    pub batches: &'a [BatchView],
}
