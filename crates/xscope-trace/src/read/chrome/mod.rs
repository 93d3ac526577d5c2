//! Reads Chrome trace JSON, as JAX, Kineto (PyTorch), Perfetto's documentation and people's
//! scripts write it.
//!
//! One pass over a stream: the bytes of one event at a time are taken apart straight into columns.
//! Begins and ends are matched when all are there, because files need not be in the order of time.
//! What Perfetto reads is read as Perfetto reads it; `displayTimeUnit` says nothing about `ts`,
//! which always counts microseconds.
//!
//! What is decided here, because no consumer can decide it later: which slices are device
//! operations, and what is subtracted from times too large for picoseconds.

mod build;
mod columns;
mod decimal;
mod event;
mod finish;
mod header;
mod json;
mod window;

use std::io::Read;

use crate::error::{Error, Result};
use crate::model::Trace;
use crate::quality::{Code, Finding};
use crate::time::Bytes;

use build::Builder;
use columns::{Elsewhere, FAR};
use event::Args;
use finish::Unmatched;
use header::Header;
use json::{Cursor, Fault, Parsed};
use window::Window;

/// The numbers of events at which JAX cuts its JSON.
const EVENT_CAPS: [u64; 2] = [1_000_000, 5_000_000];

/// Header values larger than this are not looked into.
const MAX_HEADER_VALUE: usize = 4 << 20;

/// How many places a damaged file is tried to be read on from, and how far each try may look.
const MAX_RECOVERIES: u32 = 1000;
const RECOVERY_WINDOW: usize = 64 << 10;

/// Whether bytes begin as JSON does: with an object or a list, behind a byte order mark or not.
pub(super) fn is_json(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    matches!(text.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
}

/// Whether the (unpacked) beginning of a file of JSON is that of a profile: an object with a list of
/// events, or a list of what has a phase.
pub(super) fn is_chrome_json(head: &[u8]) -> bool {
    let has = |key: &[u8]| head.windows(key.len()).any(|found| found == key);
    match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => has(b"\"traceEvents\""),
        Some(b'[') => has(b"\"ph\""),
        _ => false,
    }
}

/// Reads one Chrome JSON file from its (unpacked) bytes into `trace`. They are read once more if most
/// of its events prove to be too far from the first to be kept with it.
///
/// # Errors
/// [`Error::Damaged`] if nothing can be saved, [`Error::UnknownFormat`] if it is some other JSON;
/// lesser damage is a finding.
pub fn read<R: Read>(path: &str, open: impl Fn() -> R, trace: &mut Trace) -> Result<()> {
    let mut reader = Reader::new(open(), trace, None);
    let mut end = reader.read();
    if let Some(base) = reader.builder.tally.majority() {
        trace.strings = reader.builder.strings;
        reader = Reader::new(open(), trace, Some(base));
        end = reader.read();
    }
    if let Some(error) = reader.refusal(path, &end) {
        trace.strings = reader.builder.strings;
        return Err(error);
    }
    let Reader { window, builder, header, .. } = reader;
    let size = Bytes(window.size());
    trace.findings.extend(findings(&builder, &header, &end));
    let base = builder.base.unwrap_or(0);
    let unmatched = finish::finish(builder, &header, trace);
    report_unmatched(unmatched, trace);
    let host = trace.strings.intern(header::host_of(path));
    trace.sources.push(header.into_source(path, size, host, base));
    Ok(())
}

/// How reading ended.
enum End {
    Whole,
    /// The stream ended inside a bare array, which its closing bracket may be missing from.
    Unterminated,
    /// The stream ended, or could not be read on, in the middle.
    Cut {
        offset: u64,
        what: String,
    },
}

struct Reader<R> {
    window: Window<R>,
    builder: Builder,
    args: Args,
    header: Header,
    recoveries: u32,
}

impl<R: Read> Reader<R> {
    /// A reader that has the strings of the trace until it ends.
    fn new(input: R, trace: &mut Trace, base: Option<i128>) -> Self {
        let (source, strings) = (trace.sources.next_id(), std::mem::take(&mut trace.strings));
        let mut builder = Builder::new(strings, source, trace.metas.len(), trace.programs.len());
        builder.base = base;
        Self {
            window: Window::new(input),
            builder,
            args: Args::default(),
            header: Header::default(),
            recoveries: 0,
        }
    }

    fn read(&mut self) -> End {
        if self.window.peek(b"") == Some(0xef) {
            self.window.advance(3);
        }
        match self.window.peek(b"") {
            Some(b'[') => {
                self.window.advance(1);
                self.header.is_array = true;
                self.header.has_events = true;
                match self.read_events() {
                    Ok(()) => End::Whole,
                    Err(end) => end,
                }
            }
            Some(b'{') => {
                self.window.advance(1);
                self.read_object().err().unwrap_or(End::Whole)
            }
            _ => self.cut("neither an object nor an array"),
        }
    }

    fn cut(&self, what: &str) -> End {
        End::Cut { offset: self.window.offset(), what: self.with_failure(what) }
    }

    fn with_failure(&self, what: &str) -> String {
        match self.window.failure() {
            Some(failure) => format!("{what} ({failure})"),
            None => what.to_owned(),
        }
    }

    /// Reads the members of the outermost object.
    fn read_object(&mut self) -> std::result::Result<(), End> {
        loop {
            match self.window.peek(b",") {
                Some(b'}') => {
                    self.window.advance(1);
                    return Ok(());
                }
                Some(_) => {}
                None => return Err(self.cut("the end of the outermost object is missing")),
            }
            let key = self
                .element(|cursor, _, _| {
                    let mut key = String::new();
                    let found = cursor.next_key()?.map(|text| text.append_to(&mut key));
                    Ok(found.map(|()| key))
                })
                .map_err(|what| self.cut(what))?;
            let Some(key) = key else { return Ok(()) };
            if key == "traceEvents" && self.window.peek(b"") == Some(b'[') {
                self.window.advance(1);
                self.header.has_events = true;
                self.read_events()?;
            } else {
                self.read_header_value(&key).map_err(|what| self.cut(what))?;
            }
            if self.header.keys.len() < 8 {
                self.header.keys.push(key);
            }
        }
    }

    /// Reads the elements of an array of events whose bracket was consumed.
    fn read_events(&mut self) -> std::result::Result<(), End> {
        loop {
            match self.window.peek(b",") {
                Some(b']') => {
                    self.window.advance(1);
                    return Ok(());
                }
                Some(b'{') => {
                    let offset = self.window.offset();
                    if let Err(what) = self.read_event() {
                        self.recover(offset, what)?;
                    }
                }
                Some(_) => {
                    let offset = self.window.offset();
                    match self.element(|cursor, _, _| cursor.skip_value().map(|_| ())) {
                        Ok(()) => self.builder.tally.bad(offset, "an event that is no object"),
                        Err(what) => self.recover(offset, what)?,
                    }
                }
                None if self.header.is_array && self.window.failure().is_none() => {
                    return Err(End::Unterminated);
                }
                None => return Err(self.cut("the end of the events is missing")),
            }
        }
    }

    fn read_event(&mut self) -> std::result::Result<(), &'static str> {
        let offset = self.window.offset();
        let (mut has_phase, mut is_empty) = (false, false);
        self.element(|cursor, builder, args| {
            let start = cursor.pos();
            let event = event::read(cursor, args, &mut builder.strings)?;
            has_phase = event.phase != 0;
            is_empty = cursor.pos() - start <= 2;
            if has_phase {
                builder.add(&event, args, offset);
            }
            Ok(())
        })?;
        // JAX ends its list with an empty object.
        if !has_phase && !is_empty {
            self.builder.tally.bad(offset, "an event without `ph`");
        }
        Ok(())
    }

    /// Hands the bytes of one element to `parse`, with as much of the stream as it needs, and
    /// consumes what it read.
    fn element<T>(
        &mut self,
        mut parse: impl FnMut(&mut Cursor<'_>, &mut Builder, &mut Args) -> Parsed<T>,
    ) -> std::result::Result<T, &'static str> {
        loop {
            let mut cursor = Cursor::new(self.window.rest());
            match parse(&mut cursor, &mut self.builder, &mut self.args) {
                Ok(value) => {
                    let read = cursor.pos();
                    self.window.advance(read);
                    return Ok(value);
                }
                Err(Fault::Incomplete) if self.window.more() => {}
                Err(Fault::Incomplete) => return Err(CUT_OFF),
                Err(Fault::Syntax { what, .. }) => return Err(what),
            }
        }
    }

    /// Finds the next event behind one that cannot be read.
    fn recover(&mut self, offset: u64, what: &'static str) -> std::result::Result<(), End> {
        while self.window.rest().len() < RECOVERY_WINDOW && self.window.more() {}
        if let Some(len) = json::balanced_len(self.window.rest(), RECOVERY_WINDOW) {
            self.builder.tally.bad(offset, what);
            self.window.advance(len);
            return Ok(());
        }
        loop {
            // The element itself may start with what looks like an event: step over its brace.
            self.window.advance(1);
            let Some(skip) = self.next_candidate() else {
                return Err(End::Cut { offset, what: self.with_failure(what) });
            };
            self.window.advance(skip);
            self.recoveries += 1;
            if self.recoveries > MAX_RECOVERIES {
                return Err(self.cut("damaged in too many places"));
            }
            if self.looks_like_event() {
                self.builder.tally.bad(offset, what);
                return Ok(());
            }
        }
    }

    /// How far it is to the next brace behind a comma or a bracket, or to the end of the array.
    fn next_candidate(&mut self) -> Option<usize> {
        loop {
            let mut before = 0;
            for (at, &byte) in self.window.rest().iter().enumerate() {
                if byte == b'{' && matches!(before, b',' | b'[' | b'}') {
                    return Some(at);
                }
                if !byte.is_ascii_whitespace() {
                    before = byte;
                }
            }
            let keep = 1;
            let len = self.window.rest().len();
            if len > RECOVERY_WINDOW {
                self.window.advance(len - keep);
            }
            if !self.window.more() {
                return None;
            }
        }
    }

    /// Whether an event can be read at the window's start.
    fn looks_like_event(&mut self) -> bool {
        while self.window.rest().len() < RECOVERY_WINDOW && self.window.more() {}
        let rest = self.window.rest();
        let mut cursor = Cursor::new(&rest[..rest.len().min(RECOVERY_WINDOW)]);
        event::read(&mut cursor, &mut self.args, &mut self.builder.strings)
            .is_ok_and(|event| event.phase != 0)
    }

    /// Reads one member of the outermost object that is not the events.
    fn read_header_value(&mut self, key: &str) -> std::result::Result<(), &'static str> {
        loop {
            let mut cursor = Cursor::new(self.window.rest());
            match header::read_value(&mut cursor, key) {
                Ok(values) => {
                    let read = cursor.pos();
                    self.window.advance(read);
                    self.header.keep(values);
                    return Ok(());
                }
                Err(Fault::Syntax { what, .. }) => return Err(what),
                Err(Fault::Incomplete) if self.window.rest().len() > MAX_HEADER_VALUE => {
                    return self.skip_header_value();
                }
                Err(Fault::Incomplete) if self.window.more() => {}
                Err(Fault::Incomplete) => return Err(CUT_OFF),
            }
        }
    }

    /// Steps over a value without holding it: Kineto's stacks and system traces can be larger than
    /// all events.
    fn skip_header_value(&mut self) -> std::result::Result<(), &'static str> {
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        loop {
            for (at, &byte) in self.window.rest().iter().enumerate() {
                let closes = match (in_string, byte) {
                    (true, _) if escaped => {
                        escaped = false;
                        false
                    }
                    (true, b'\\') => {
                        escaped = true;
                        false
                    }
                    (_, b'"') => {
                        in_string = !in_string;
                        !in_string && depth == 0
                    }
                    (true, _) => false,
                    (false, b'{' | b'[') => {
                        depth += 1;
                        false
                    }
                    (false, b'}' | b']') => {
                        depth = depth.saturating_sub(1);
                        depth == 0
                    }
                    (false, _) => false,
                };
                if closes {
                    self.window.advance(at + 1);
                    return Ok(());
                }
            }
            self.window.advance(self.window.rest().len());
            if !self.window.more() {
                return Err(CUT_OFF);
            }
        }
    }

    /// Why nothing can be made of the file, if so.
    fn refusal(&self, path: &str, end: &End) -> Option<Error> {
        let tally = &self.builder.tally;
        if tally.events + tally.metadata > 0 {
            return None;
        }
        if let End::Cut { offset, what } = end {
            return Some(Error::Damaged {
                path: path.into(),
                offset: *offset,
                what: what.clone(),
                hint: "no event could be read; capture or copy the file again".to_owned(),
            });
        }
        let found = match (self.header.has_events, self.header.is_array) {
            (true, _) if tally.bad == 0 => return None,
            (true, true) => "a JSON array, but not of events with `ph`".to_owned(),
            (true, false) => "JSON whose `traceEvents` are no events with `ph`".to_owned(),
            (false, _) if self.header.keys.is_empty() => "an empty JSON object".to_owned(),
            (false, _) => {
                format!("a JSON object of {}, without `traceEvents`", self.header.keys.join(", "))
            }
        };
        Some(Error::UnknownFormat { path: path.into(), found, known: String::new() })
    }
}

/// What is wrong with an element that the stream ends in, or that is too large for the window.
const CUT_OFF: &str = "cut off in the middle";

fn findings(builder: &Builder, header: &Header, end: &End) -> Vec<Finding> {
    let tally = &builder.tally;
    let mut findings = Vec::new();
    let mut add = |code, message: String, count: u64| {
        findings.push(Finding::new(code, message).times(count));
    };
    match end {
        End::Whole => {}
        End::Unterminated => add(
            Code::ChromeUnterminated,
            "the array is not closed, which is allowed; if its writer was stopped, the last \
             events are missing"
                .to_owned(),
            1,
        ),
        End::Cut { offset, what } => add(
            Code::ChromeTruncated,
            format!(
                "the JSON is damaged or cut off at byte {offset}: {what}; what lies before it was \
                 read; capture or copy it again"
            ),
            1,
        ),
    }
    let (clocks, lost): (Vec<Elsewhere>, Vec<Elsewhere>) =
        tally.elsewhere.iter().partition(|elsewhere| elsewhere.is_clock);
    let far = lost.iter().map(|elsewhere| (elsewhere.first.0, FAR));
    if let Some((offset, what)) = tally.first_bad.into_iter().chain(far).min() {
        let message = format!("events were left out, the first at byte {offset}: {what}");
        let far: u64 = lost.iter().map(|elsewhere| elsewhere.events).sum();
        add(Code::ChromeBadEvent, message, tally.bad + far);
    }
    for clock in clocks {
        let message = format!(
            "{} events, the first at byte {}, are on another clock than the rest, more than 100 days \
             away, and were left out; write all events of a file on one clock",
            clock.events, clock.first.0
        );
        add(Code::ChromeTwoClocks, message, clock.events);
    }
    if tally.ignored > 0 {
        let message = "events of kinds that say nothing about time were left out".to_owned();
        add(Code::ChromeIgnoredEvent, message, tally.ignored);
    }
    if EVENT_CAPS.contains(&tally.events) {
        let message = format!(
            "exactly {} events: JAX cuts its JSON there; read the xplane.pb beside it instead",
            tally.events
        );
        add(Code::ChromeEventCap, message, 1);
    }
    if tally.events == 0 && header.has_events {
        let message = "the file is a trace without events; was anything run while it was captured?";
        add(Code::ChromeNoEvents, message.to_owned(), 1);
    }
    findings
}

fn report_unmatched(unmatched: Unmatched, trace: &mut Trace) {
    if unmatched.ends > 0 {
        let message = "ends of slices have no begin of the same name before them on their thread; \
                       they were left out";
        trace.findings.push(Finding::new(Code::ChromeUnmatchedEnd, message).times(unmatched.ends));
    }
    if unmatched.begins > 0 {
        let message = "slices were begun and never ended; they count as taking no time";
        trace.findings.push(Finding::new(Code::ChromeUnfinished, message).times(unmatched.begins));
    }
}
