//! What a server's span says of the request that it is of, and of itself.

use rustc_hash::FxHashMap;
use xscope_trace::Trace;
use xscope_trace::model::ArgCell;
use xscope_trace::model::{RequestSpan, SpanKey};
use xscope_trace::strings::StrId;

/// The key that a server's spans have for each name that a client may know: the number itself,
/// or the text that its `request` span gives as `request_id`.
pub(crate) fn names_of_requests(trace: &Trace) -> FxHashMap<String, SpanKey> {
    let mut names = FxHashMap::default();
    for span in &trace.spans {
        let Some(key) = span.request else { continue };
        if let Some(text) = given_name(trace, span) {
            names.insert(trace.strings.get(text).to_owned(), key);
        }
        names.entry(key_text(trace, key)).or_insert(key);
    }
    names
}

/// What a client calls the request of a span, if the span says it.
pub(crate) fn given_name(trace: &Trace, span: &RequestSpan) -> Option<StrId> {
    span.args.iter().find_map(|&(name, cell)| match cell {
        ArgCell::Str(text) if trace.strings.get(name) == "request_id" => Some(text),
        _ => None,
    })
}

pub(crate) fn key_text(trace: &Trace, key: SpanKey) -> String {
    match key {
        SpanKey::Number(number) => number.to_string(),
        SpanKey::Text(id) => trace.strings.get(id).to_owned(),
    }
}

/// The first integer argument of a span with this key.
pub(crate) fn arg(trace: &Trace, span: &RequestSpan, key: &str) -> Option<u64> {
    args(trace, span, key).next()
}

/// All integer arguments of a span with this key, in order.
pub(crate) fn args(trace: &Trace, span: &RequestSpan, key: &str) -> impl Iterator<Item = u64> {
    span.args.iter().filter_map(move |&(name, cell)| match cell {
        ArgCell::Int(value) if trace.strings.get(name) == key => u64::try_from(value).ok(),
        _ => None,
    })
}
