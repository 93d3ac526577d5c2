//! Reads JSON from bytes, one element at a time, without building a tree.
//!
//! As lenient as Perfetto where that costs nothing: commas may be missing, doubled or trailing,
//! strings may hold control characters, numbers may be `NaN` or `inf`, text may be no UTF-8.

/// Deepest nesting of arrays and objects in one element.
const MAX_DEPTH: u32 = 128;

/// Why an element could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end inside the element.
    Incomplete,
    /// The bytes are no JSON.
    Syntax { at: usize, what: &'static str },
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// The text of a JSON string as it lies in the file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Text<'a> {
    pub raw: &'a [u8],
    pub escaped: bool,
}

/// The value at a cursor. After `Object` and `Array` the cursor is behind the bracket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(Text<'a>),
    Number(&'a [u8]),
    /// `NaN` or an infinity: no JSON, but Python and C++ print it.
    Odd(f64),
    Bool(bool),
    Null,
    Object,
    Array,
}

/// A position in bytes.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Text<'a> {
    /// The text without escapes, in `scratch` if it cannot be borrowed.
    pub(super) fn decode<'s>(self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.escaped
            && let Ok(text) = std::str::from_utf8(self.raw)
        {
            return text;
        }
        scratch.clear();
        self.append_to(scratch);
        scratch
    }

    /// Appends the text without escapes; what is no UTF-8 becomes U+FFFD.
    pub(super) fn append_to(self, out: &mut String) {
        let mut rest = self.raw;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
            append_lossy(&rest[..at], out);
            rest = unescape(&rest[at..], out);
        }
        append_lossy(rest, out);
    }
}

fn append_lossy(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Appends the character that the escape at the start of `bytes` stands for and returns the bytes
/// behind it. What is no escape is kept as it is.
fn unescape<'a>(bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    let simple = match bytes.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'u') => match hex4(&bytes[2..]) {
            Some(unit) => return unescape_unicode(unit, &bytes[6..], out),
            None => '\\',
        },
        _ => '\\',
    };
    out.push(simple);
    let escape_is_kept = simple == '\\' && bytes.get(1) != Some(&b'\\');
    &bytes[if escape_is_kept { 1 } else { 2 }..]
}

fn unescape_unicode<'a>(unit: u32, rest: &'a [u8], out: &mut String) -> &'a [u8] {
    if (0xd800..0xdc00).contains(&unit)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(hex4)
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &rest[6..];
    }
    out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes
        .get(..4)?
        .iter()
        .try_fold(0, |code, &byte| Some(code * 16 + char::from(byte).to_digit(16)?))
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    fn fail<T>(&self, what: &'static str) -> Parsed<T> {
        Err(Fault::Syntax { at: self.pos, what })
    }

    /// The next byte that is no white space; it is not consumed.
    fn peek(&mut self) -> Parsed<u8> {
        while let Some(&byte) = self.bytes.get(self.pos) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c) {
                return Ok(byte);
            }
            self.pos += 1;
        }
        Err(Fault::Incomplete)
    }

    /// Steps to the next key of an object and behind its colon; `None` behind the object.
    pub(super) fn next_key(&mut self) -> Parsed<Option<Text<'a>>> {
        loop {
            match self.peek()? {
                b',' => self.pos += 1,
                b'}' => {
                    self.pos += 1;
                    return Ok(None);
                }
                b'"' => break,
                _ => return self.fail("a key or the end of an object is missing"),
            }
        }
        let key = self.string()?;
        if self.peek()? != b':' {
            return self.fail("a colon is missing behind a key");
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Steps to the next item of an array; `false` behind the array.
    pub(super) fn next_item(&mut self) -> Parsed<bool> {
        loop {
            match self.peek()? {
                b',' => self.pos += 1,
                b']' => {
                    self.pos += 1;
                    return Ok(false);
                }
                _ => return Ok(true),
            }
        }
    }

    pub(super) fn value(&mut self) -> Parsed<Value<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'{' => {
                self.pos += 1;
                Ok(Value::Object)
            }
            b'[' => {
                self.pos += 1;
                Ok(Value::Array)
            }
            b'0'..=b'9' | b'-' | b'+' | b'.' | b'a'..=b'z' | b'A'..=b'Z' => self.bare_word(),
            _ => self.fail("a value is missing"),
        }
    }

    /// A number, `true`, `null` and their like.
    fn bare_word(&mut self) -> Parsed<Value<'a>> {
        let rest = &self.bytes[self.pos..];
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = rest.iter().position(|&byte| !is_part(byte)).ok_or(Fault::Incomplete)?;
        let word = &rest[..len];
        let value = match word[0] {
            b'0'..=b'9' | b'.' => Value::Number(word),
            b'-' | b'+' if word.get(1).is_some_and(|byte| !byte.is_ascii_alphabetic()) => {
                Value::Number(word)
            }
            _ => match word {
                b"true" => Value::Bool(true),
                b"false" => Value::Bool(false),
                b"null" => Value::Null,
                b"NaN" | b"nan" | b"-nan" | b"-NaN" => Value::Odd(f64::NAN),
                b"Infinity" | b"inf" | b"+inf" => Value::Odd(f64::INFINITY),
                b"-Infinity" | b"-inf" => Value::Odd(f64::NEG_INFINITY),
                _ => return self.fail("a word that is no value"),
            },
        };
        self.pos += len;
        Ok(value)
    }

    fn string(&mut self) -> Parsed<Text<'a>> {
        let body = self.bytes.get(self.pos + 1..).ok_or(Fault::Incomplete)?;
        let (len, escaped) = string_len(body).ok_or(Fault::Incomplete)?;
        self.pos += len + 2;
        Ok(Text { raw: &body[..len], escaped })
    }

    /// Steps over a value and returns its bytes.
    pub(super) fn skip_value(&mut self) -> Parsed<&'a [u8]> {
        self.peek()?;
        let start = self.pos;
        match self.value()? {
            Value::Object | Value::Array => {
                self.pos = start;
                self.skip_nested()?;
            }
            _ => {}
        }
        Ok(&self.bytes[start..self.pos])
    }

    /// Steps over the rest of an object or array whose opening bracket was consumed.
    pub(super) fn skip_rest(&mut self) -> Parsed<()> {
        self.pos = self.pos.saturating_sub(1);
        self.skip_nested()
    }

    /// As [`Self::skip_rest`], and returns the bytes of the whole object or array.
    pub(super) fn rest_of_container(&mut self) -> Parsed<&'a [u8]> {
        let start = self.pos.saturating_sub(1);
        self.skip_rest()?;
        Ok(&self.bytes[start..self.pos])
    }

    /// Steps over the object or array at the cursor.
    fn skip_nested(&mut self) -> Parsed<()> {
        // One bit per level: whether it is an array.
        let (mut kinds, mut depth) = (0_u128, 0_u32);
        loop {
            let byte = self.peek()?;
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' if depth == MAX_DEPTH => return self.fail("nested too deeply"),
                b'{' | b'[' => {
                    kinds = kinds << 1 | u128::from(byte == b'[');
                    depth += 1;
                }
                b'}' | b']' => {
                    if (kinds & 1 == 1) != (byte == b']') {
                        return self.fail("brackets that do not match");
                    }
                    kinds >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        self.pos += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.pos += 1;
        }
    }
}

/// Length of a string's text up to its closing quote, and whether it has escapes.
fn string_len(body: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut escaped) = (0, false);
    loop {
        at += find_quote(&body[at..])?;
        if body[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
        if at > body.len() {
            return None;
        }
    }
}

/// Position of the first quote or backslash, eight bytes at a time.
fn find_quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let hits =
            has_zero(word ^ (ONES * u64::from(b'"'))) | has_zero(word ^ (ONES * u64::from(b'\\')));
        if hits != 0 {
            return Some(at + usize::try_from(hits.trailing_zeros() / 8).unwrap_or(0));
        }
        at += 8;
    }
    let tail = bytes.get(at..)?.iter().position(|&byte| matches!(byte, b'"' | b'\\'))?;
    Some(at + tail)
}

/// Length of the element at the start of `bytes`, by its brackets alone: what is between them may
/// be no JSON. `None` if it is longer than `limit` or does not end where an element can.
pub(super) fn balanced_len(bytes: &[u8], limit: usize) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(limit)];
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => at += string_len(&bytes[at + 1..])?.0 + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let next = bytes[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(next, Some(b',' | b']' | b'{')).then_some(at + 1)
}

/// Appends JSON text without the white space between its tokens.
pub(super) fn append_compact(json: &[u8], out: &mut String) {
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        if byte == b'"' {
            let len = string_len(&rest[1..]).map_or(rest.len(), |(len, _)| len + 2);
            append_lossy(&rest[..len], out);
            rest = &rest[len..];
            continue;
        }
        let plain = rest.iter().position(|b| b.is_ascii_whitespace() || *b == b'"');
        let plain = plain.unwrap_or(rest.len());
        append_lossy(&rest[..plain], out);
        rest = &rest[plain..];
        let white = rest.iter().position(|byte| !byte.is_ascii_whitespace());
        rest = &rest[white.unwrap_or(rest.len())..];
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Fault, Text, append_compact, find_quote};

    #[test]
    fn escapes_and_damage_in_strings() {
        let check = |raw: &[u8], expected: &str| {
            let mut scratch = String::new();
            let text = Text { raw, escaped: raw.contains(&b'\\') };
            assert_eq!(text.decode(&mut scratch), expected);
        };
        check(b"plain", "plain");
        check(br#"a\n\"\\\/b"#, "a\n\"\\/b");
        check(br"\u00e9\ud83d\ude00", "é😀");
        check(br"\ud83d!", "\u{fffd}!");
        check(br"\q\u12", r"\q\u12");
        check(b"tail\\", "tail\\");
        check(b"\xff\x01", "\u{fffd}\u{1}");
    }

    #[test]
    fn values_are_skipped_with_their_brackets() {
        let skip = |text: &'static str| Cursor::new(text.as_bytes()).skip_value();
        assert_eq!(skip(r#" {"a": [1, "]}"]} ,"#), Ok(r#"{"a": [1, "]}"]}"#.as_bytes()));
        assert_eq!(skip("[1, 2"), Err(Fault::Incomplete));
        assert!(matches!(skip("[1}"), Err(Fault::Syntax { at: 2, .. })));
        let deep = "[".repeat(200);
        assert!(matches!(Cursor::new(deep.as_bytes()).skip_value(), Err(Fault::Syntax { .. })));
    }

    #[test]
    fn compact_text_keeps_strings() {
        let mut out = String::new();
        append_compact(b"[ [1, 512],\n \"a b\\\" c\" ]", &mut out);
        assert_eq!(out, r#"[[1,512],"a b\" c"]"#);
    }

    #[test]
    fn the_first_quote_is_found_at_any_place() {
        for len in 0..40 {
            let mut bytes = vec![b'x'; len];
            assert_eq!(find_quote(&bytes), None);
            bytes.extend_from_slice(b"\\\"");
            assert_eq!(find_quote(&bytes), Some(len));
        }
    }
}
