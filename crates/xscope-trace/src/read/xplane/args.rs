//! Arguments of events, decoded when they are asked for.

use crate::model::{ArgValue, StatNames};
use crate::read::xplane::line;
use crate::read::xplane::stat::decode_stats;
use crate::strings::Strings;

/// How much text the arguments of one event may refer to, besides twice its own size.
const ARGS_LIMIT: usize = 1 << 20;

/// Decodes the arguments of the event message at `at`.
pub(super) fn event_args<'a>(
    bytes: &[u8],
    at: u64,
    names: &StatNames,
    strings: &'a Strings,
) -> Vec<(&'a str, ArgValue)> {
    line::event_at(bytes, at)
        .map(|event| decode_stats(event, 4, names, strings, ARGS_LIMIT))
        .unwrap_or_default()
}
