//! Requests of which the server recorded nothing.

use xscope_trace::quality::{Code, Finding};

use crate::requests::findings::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let unjoined = facts.measured.iter().filter(|view| !view.has_server).count() as u64;
    (unjoined > 0).then(|| {
        let message = "requests have no span of the server; where their time went inside it is unknown: \
                       start the server under `xscope run`, or profile the built-in engine";
        Finding::new(Code::RequestsUnjoined, message).times(unjoined)
    })
}
