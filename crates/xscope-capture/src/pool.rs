//! Servers that are profiled together, and the names of their folders.

/// A server to profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureServer {
    /// `prefill`, `decode`; empty for one that does both.
    pub role: &'static str,
    pub url: String,
}

/// Unique names for the folders of servers: none for a single one without a role.
pub(crate) fn names(servers: &[CaptureServer]) -> Vec<String> {
    let base = |server: &CaptureServer| match (server.role, servers.len()) {
        ("", 1) => String::new(),
        ("", _) => {
            let host = server.url.rsplit("://").next().unwrap_or_default();
            let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
            host.trim_end_matches('/').chars().map(keep).collect()
        }
        (role, _) => role.to_owned(),
    };
    let bases: Vec<String> = servers.iter().map(base).collect();
    let place = |index: usize| bases[..index].iter().filter(|it| **it == bases[index]).count();
    let is_twice = |name: &String| bases.iter().filter(|it| *it == name).count() > 1;
    let name = |(index, name): (usize, &String)| match is_twice(name) {
        true => format!("{name}-{}", place(index)),
        false => name.clone(),
    };
    bases.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::{CaptureServer, names};

    #[test]
    fn folders_of_servers_are_named_after_what_tells_them_apart() {
        let check = |servers: &[(&'static str, &str)], expected: &[&str]| {
            let servers: Vec<_> = servers
                .iter()
                .map(|&(role, url)| CaptureServer { role, url: url.to_owned() })
                .collect();
            assert_eq!(names(&servers), expected);
        };
        check(&[("", "http://h:1")], &[""]);
        check(&[("prefill", "http://h:1")], &["prefill"]);
        check(&[("prefill", "http://h:1"), ("decode", "http://h:2")], &["prefill", "decode"]);
        check(
            &[("prefill", "http://h:1"), ("decode", "http://h:2"), ("decode", "http://h:3")],
            &["prefill", "decode-0", "decode-1"],
        );
        check(&[("", "http://h:1/"), ("", "http://[::1]:2/a")], &["h_1", "___1__2_a"]);
        check(&[("", "http://h:1"), ("", "http://h:1")], &["h_1-0", "h_1-1"]);
    }
}
