//! Rows of JSON, one a line, that are appended while a run goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::quality::Code;
use crate::run::RunError;

/// Appends rows to a file, each in one write, so that a kill leaves whole rows and at most one
/// torn one at the end.
#[derive(Debug)]
pub struct JsonlWriter {
    path: PathBuf,
    file: File,
    len: u64,
    buffer: Vec<u8>,
}

impl JsonlWriter {
    /// Opens a file for appending and makes it if need be. A torn last row of an earlier writer
    /// is closed off by a newline.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, read or written.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let error = |source| RunError::Write { path: path.into(), source };
        let (file, len, torn) = open(path).map_err(error)?;
        let mut writer = Self { path: path.into(), file, len, buffer: Vec::new() };
        if torn {
            writer.buffer.push(b'\n');
            writer.write_buffer()?;
        }
        Ok(writer)
    }

    /// Appends a row.
    ///
    /// # Errors
    ///
    /// The row is no JSON (a map with keys that are no strings), or cannot be written; the file
    /// is cut back to the rows before it.
    pub fn write(&mut self, row: &impl Serialize) -> Result<(), RunError> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, row)
            .map_err(|source| RunError::Encode { path: self.path.clone(), source })?;
        self.buffer.push(b'\n');
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<(), RunError> {
        if let Err(source) = self.file.write_all(&self.buffer) {
            // If this fails as well, the reader will tell of a torn row.
            drop(self.file.set_len(self.len));
            return Err(RunError::Write { path: self.path.clone(), source });
        }
        self.len += self.buffer.len() as u64;
        Ok(())
    }
}

/// The file, its length, and whether its last line lacks its end.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, len, last != [b'\n']))
}

/// Rows that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsonlIssue {
    /// [`Code::RequestsTornRow`] if the file ends inside a row, as after a kill;
    /// [`Code::RequestsBadRow`] if a row is not what was expected.
    pub code: Code,
    /// What is wrong with the first such row.
    pub message: String,
    /// Of the first such row, counted from 1.
    pub line: usize,
    pub count: usize,
}

/// Reads rows; what cannot be read is passed over and told. Blank lines do not count.
pub fn read_jsonl<T: DeserializeOwned>(bytes: &[u8]) -> (Vec<T>, Vec<JsonlIssue>) {
    let mut rows = Vec::new();
    let mut issues: Vec<JsonlIssue> = Vec::new();
    for (line, text) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let error = match serde_json::from_slice(text) {
            Ok(row) => {
                rows.push(row);
                continue;
            }
            Err(error) => error,
        };
        let code = if text.ends_with(b"\n") { Code::RequestsBadRow } else { Code::RequestsTornRow };
        match issues.iter_mut().find(|issue| issue.code == code) {
            Some(issue) => issue.count += 1,
            None => issues.push(JsonlIssue { code, message: error.to_string(), line, count: 1 }),
        }
    }
    (rows, issues)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::{JsonlWriter, read_jsonl};
    use crate::quality::Code;

    #[test]
    fn rows_survive_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requests.jsonl");
        let mut writer = JsonlWriter::open(&path).unwrap();
        for id in 0..3 {
            writer.write(&json!({"id": id, "text": "a\nb"})).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 5);
        let (rows, issues) = read_jsonl::<serde_json::Value>(&bytes);
        assert_eq!((rows.len(), issues[0].code, issues[0].line), (2, Code::RequestsTornRow, 3));

        fs::write(&path, &bytes).unwrap();
        JsonlWriter::open(&path).unwrap().write(&json!({"id": 9})).unwrap();
        let (rows, issues) = read_jsonl::<serde_json::Value>(&fs::read(&path).unwrap());
        assert_eq!((rows.len(), issues[0].code, issues[0].count), (3, Code::RequestsBadRow, 1));
        assert_eq!(rows[2]["id"], 9);
    }
}
