//! A minimal HTTP client: one connection per request, everything in the open.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The scores of a 200.
    pub(crate) fn scores(&self) -> Vec<Vec<f64>> {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_value(self.json()["scores"].clone()).unwrap()
    }

    /// The message of an error.
    pub(crate) fn message(&self) -> String {
        let error = self.json();
        assert_eq!(error["object"], "error", "{self:?}");
        assert_eq!(error["code"], self.status, "{self:?}");
        error["message"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn send(addr: SocketAddr, head: &str, body: &[u8]) -> Reply {
    receive(open(addr, head, body))
}

/// Sends a request and does not wait for its answer.
pub(crate) fn open(addr: SocketAddr, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!(
        "{head}\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    // A server that refuses early may have closed its side.
    stream.write_all(body).ok();
    stream
}

pub(crate) fn receive(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A reset after the answer loses nothing of it.
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) fn get(addr: SocketAddr, path: &str) -> Reply {
    send(addr, &format!("GET {path} HTTP/1.1"), b"")
}

pub(crate) fn post(addr: SocketAddr, path: &str, body: &str) -> Reply {
    send(addr, &post_head(path), body.as_bytes())
}

pub(crate) fn post_head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\ncontent-type: application/json")
}

pub(crate) fn score(addr: SocketAddr, body: &Value) -> Reply {
    post(addr, "/v1/score", &body.to_string())
}
