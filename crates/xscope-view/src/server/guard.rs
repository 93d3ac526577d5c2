//! Who is answered at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;

use crate::server::answer::refuse;

/// Scripts, styles and data from this server and nothing else; pages cannot be framed, and tell
/// nobody their address.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The token and the names that this server goes by.
#[derive(Debug)]
pub(crate) struct Guard {
    token: String,
    hosts: [String; 2],
}

impl Guard {
    pub(crate) fn new(port: u16) -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { token, hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")] })
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a path begins with the token. Takes as long for a wrong one as for one that is
    /// almost right.
    fn knows(&self, path: &str) -> bool {
        let given = path.trim_start_matches('/').split('/').next().unwrap_or_default().as_bytes();
        let token = self.token.as_bytes();
        let differences = (given.len() ^ token.len())
            | token.iter().enumerate().fold(0, |sum, (index, byte)| {
                sum | usize::from(byte ^ given.get(index).copied().unwrap_or(0))
            });
        std::hint::black_box(differences) == 0
    }

    /// Whether the browser thinks that it talks to this server: a name that somebody makes point
    /// here (DNS rebinding) would let that somebody's page read the answers.
    fn is_meant(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let ours = |name: &str| self.hosts.iter().any(|host| host == name);
        let origin = headers.get(header::ORIGIN).map(|origin| {
            origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")).is_some_and(ours)
        });
        ours(host) && hosts.next().is_none() && origin.unwrap_or(true)
    }
}

/// Lets through who has the token and means this server.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let is_read = [Method::GET, Method::HEAD, Method::POST].contains(request.method());
    let mut response =
        match guard.is_meant(request.headers()) && guard.knows(request.uri().path()) && is_read {
            true => next.run(request).await,
            false => refuse(
                StatusCode::FORBIDDEN,
                "the address lacks its token: open the one that `xscope view` printed",
            ),
        };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // The report has its own, stricter one, which lets its own scripts run.
    if !response.headers().contains_key(header::CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static(POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::Guard;

    #[test]
    fn only_the_whole_token_opens() {
        let guard = Guard::new(1).unwrap();
        let token = guard.token().to_owned();
        assert_eq!(token.len(), 32);
        assert!(guard.knows(&format!("/{token}/")) && guard.knows(&format!("/{token}/api/x")));
        for wrong in ["/", "", "/x/", &format!("/{}/", &token[1..]), &format!("/{token}0/")] {
            assert!(!guard.knows(wrong), "{wrong}");
        }
    }
}
