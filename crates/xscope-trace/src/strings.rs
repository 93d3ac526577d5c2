//! Interned strings: every name of a trace is stored once and referred to by a small number.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// A string of one [`Strings`] table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StrId(pub u32);

impl StrId {
    /// The empty string; every table has it.
    pub const EMPTY: Self = Self(0);

    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

/// A table of strings, each stored once.
///
/// The bytes lie in one arena and the hash table holds only ids, so a million names cost their
/// text plus about 13 bytes each.
#[derive(Debug)]
pub struct Strings {
    arena: String,
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Default for Strings {
    fn default() -> Self {
        let mut strings =
            Self { arena: String::new(), ends: Vec::new(), table: HashTable::default() };
        strings.intern("");
        strings
    }
}

impl Strings {
    /// The id of `text`, which is added if it is not there.
    ///
    /// The table holds at most 4 GiB of text; past that every further string reads as the empty
    /// one, which no real trace comes near.
    pub fn intern(&mut self, text: &str) -> StrId {
        let hash = FxBuildHasher.hash_one(text);
        if let Some(&id) = self.table.find(hash, |&id| self.get(StrId(id)) == text) {
            return StrId(id);
        }
        let (Ok(id), Ok(end)) =
            (u32::try_from(self.ends.len()), u32::try_from(self.arena.len() + text.len()))
        else {
            return StrId::EMPTY;
        };
        self.arena.push_str(text);
        self.ends.push(end);
        let (arena, ends) = (&self.arena, &self.ends);
        self.table.insert_unique(hash, id, |&id| {
            FxBuildHasher.hash_one(slice_of(arena, ends, id as usize))
        });
        StrId(id)
    }

    /// The id of bytes that should be UTF-8; what is not is replaced by U+FFFD.
    pub fn intern_bytes(&mut self, bytes: &[u8]) -> StrId {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.intern(text),
            Err(_) => self.intern(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Makes room for so many more strings, so that the table does not grow step by step.
    pub(crate) fn reserve(&mut self, strings: usize) {
        let (arena, ends) = (&self.arena, &self.ends);
        self.table
            .reserve(strings, |&id| FxBuildHasher.hash_one(slice_of(arena, ends, id as usize)));
    }

    /// The text of `id`; the empty string for an id of another table.
    pub fn get(&self, id: StrId) -> &str {
        slice_of(&self.arena, &self.ends, id.0 as usize)
    }

    /// The id of `text` if it is in the table.
    pub fn find(&self, text: &str) -> Option<StrId> {
        let hash = FxBuildHasher.hash_one(text);
        self.table.find(hash, |&id| self.get(StrId(id)) == text).map(|&id| StrId(id))
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.len() <= 1
    }
}

fn slice_of<'a>(arena: &'a str, ends: &[u32], index: usize) -> &'a str {
    let Some(&end) = ends.get(index) else { return "" };
    let start = if index == 0 { 0 } else { ends[index - 1] };
    &arena[start as usize..end as usize]
}

#[cfg(test)]
mod tests {
    use super::{StrId, Strings};

    #[test]
    fn each_text_is_stored_once() {
        let mut strings = Strings::default();
        let a = strings.intern("dot.1");
        let b = strings.intern("dot.2");
        assert_eq!(strings.intern("dot.1"), a);
        assert_ne!(a, b);
        assert_eq!(strings.get(b), "dot.2");
        assert_eq!(strings.intern(""), StrId::EMPTY);
        assert_eq!(strings.get(StrId(99)), "");
        assert_eq!(strings.find("dot.3"), None);
    }
}
