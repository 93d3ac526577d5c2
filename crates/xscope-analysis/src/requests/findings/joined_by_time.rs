//! How batches were joined to the device's work, where that was a matter of time and order.

use xscope_trace::quality::{Code, Finding};

use crate::requests::findings::facts::Facts;

pub(super) fn finding(facts: &Facts<'_>) -> Option<Finding> {
    let (joined, uncertain) = (facts.launches.joined, facts.launches.uncertain);
    let message = format!(
        "the device does not know the server's batches: {joined} executions were joined to them \
         by time and order, {uncertain} of them while several batches were under way"
    );
    let finding = Finding::new(Code::BatchesJoinedByTime, message);
    (joined > 0).then(|| if uncertain == 0 { finding.harmless() } else { finding })
}
