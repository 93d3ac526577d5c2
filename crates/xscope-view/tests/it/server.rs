//! Who is answered, and with what.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;
use tokio::runtime::Runtime;
use xscope_view::server::{ServerError, ViewOptions, Viewer};

use xscope_testing::fixture;

/// A viewer that runs until it is dropped.
struct Running {
    _runtime: Runtime,
    address: String,
    token: String,
}

fn options(paths: &[PathBuf]) -> ViewOptions {
    ViewOptions {
        paths: paths.to_vec(),
        live: None,
        port: 0,
        compare: |a, b| Ok(format!("{} {}", a.display(), b.display())),
    }
}

impl Running {
    fn start(options: ViewOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let viewer = runtime.block_on(Viewer::start(options)).unwrap();
        let url = viewer.url().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        let (address, token) = url.split_once('/').unwrap();
        let (address, token) = (address.to_owned(), token.to_owned());
        runtime.spawn(viewer.serve());
        Self { _runtime: runtime, address, token }
    }

    /// Sends a request as it is.
    fn raw(&self, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let path = format!("/{}/{path}", self.token);
        let (status, _, body) = self.raw(&path, &format!("Host: {}\r\n", self.address));
        (status, body)
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// What became of reading the profile.
    fn read(&self, id: &str) -> Value {
        loop {
            let status = self.json(&format!("run/{id}/api/status"));
            if status["state"] != "reading" {
                return status;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn nothing_is_answered_without_the_token() {
    let viewer = Running::start(options(&[fixture("run")]));
    let (host, token) = (format!("Host: {}\r\n", viewer.address), &viewer.token);
    for path in ["/", "/assets/timeline.js", "/x/run/0/", &format!("/{token}0/")] {
        let (status, _, body) = viewer.raw(path, &host);
        assert_eq!(status, 403, "{path}");
        assert!(!String::from_utf8_lossy(&body).contains(token.as_str()));
    }
    let (status, head, _) = viewer.raw(&format!("/{token}/run/0/"), &host);
    assert_eq!(status, 200);
    for expected in
        ["default-src 'none'", "frame-ancestors 'none'", "nosniff", "no-referrer", "no-store"]
    {
        assert!(head.contains(expected), "{expected} not in {head}");
    }
    assert!(!head.contains("access-control"), "{head}");
}

#[test]
fn a_name_that_was_made_to_point_here_is_refused() {
    let viewer = Running::start(options(&[fixture("run")]));
    let path = format!("/{}/run/0/", viewer.token);
    let port = viewer.address.rsplit(':').next().unwrap();
    let host = format!("Host: {}\r\n", viewer.address);
    for headers in [
        format!("Host: evil.example:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("{host}Origin: http://evil.example\r\n"),
        format!("{host}Origin: null\r\n"),
    ] {
        assert_eq!(viewer.raw(&path, &headers).0, 403, "{headers}");
    }
    for headers in [
        format!("Host: localhost:{port}\r\n"),
        format!("{host}Origin: http://{}\r\n", viewer.address),
    ] {
        assert_eq!(viewer.raw(&path, &headers).0, 200, "{headers}");
    }
}

#[test]
fn no_name_leads_out_of_the_folder_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    for name in ["runs/a", "runs/b", "outside"] {
        let run = folder.path().join(name);
        std::fs::create_dir_all(&run).unwrap();
        std::fs::copy(fixture("run").join("run.json"), run.join("run.json")).unwrap();
        std::fs::copy(fixture("run").join("results.json"), run.join("results.json")).unwrap();
    }
    std::fs::write(runs.join("b/run.json"), "{\"status\": [").unwrap();
    let viewer = Running::start(options(&[runs]));
    let list = viewer.json("api/runs");
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["b", "a"]);
    assert!(!list[0]["issues"].as_array().unwrap().is_empty(), "damage is told: {list}");
    assert!(!list[1]["figures"].as_object().unwrap().is_empty(), "{list}");
    for id in ["..%2Foutside", "%2e%2e%2foutside", "outside", "..", "c", "%2Fetc"] {
        let (status, _) = viewer.get(&format!("run/{id}/api/status"));
        assert_eq!(status, 404, "{id}");
    }
    assert_eq!(viewer.get("run/../../outside/api/status").0, 404);
    assert_eq!(viewer.get("compare?a=a&b=..%2Foutside").0, 404);
    let (status, body) = viewer.get("compare?a=a&b=b");
    assert!(status == 200 && String::from_utf8_lossy(&body).contains("runs/b"));
    // A run without a profile is shown, and says that it has none.
    let status = viewer.read("a");
    assert_eq!(status["state"], "ready", "{status}");
    assert!(status["findings"].to_string().contains("no profile in it"), "{status}");
    let (status, report) = viewer.get("run/a/report");
    assert!(status == 200 && String::from_utf8_lossy(&report).contains("no profile in it"));
}

#[test]
fn a_profile_is_served_in_all_its_parts() {
    let viewer = Running::start(options(&[fixture("run")]));
    let status = viewer.read("0");
    assert_eq!(status["state"], "ready", "{status}");
    let length = status["length"].as_i64().unwrap();
    let items = status["items"].as_u64().unwrap();
    let (_, tree) = viewer.get("run/0/api/tree");
    assert_eq!(tree.len() as u64, items + items % 2 + 2 * items);
    let names = viewer.json(&format!("run/0/api/items?from=0&count={items}"));
    assert_eq!(names.as_array().unwrap().len() as u64, items);
    assert_eq!(names[0][0], "Requests");
    let found = viewer.json("run/0/api/search?text=batch");
    assert!(found["total"].as_u64().unwrap() > 0);
    let hit = &found["hit"];
    let place = format!("item={}&slice={}", hit["item"], hit["slice"]);
    let detail = viewer.json(&format!("run/0/api/slice?{place}"));
    assert_eq!(detail["name"], hit["name"]);
    let back = viewer.json(&format!("run/0/api/search?text=batch&{place}&back=true"));
    assert_eq!(back["rank"], found["total"], "before the first comes the last");
    let stats = viewer.json(&format!("run/0/api/stats?from=0&to={length}&items=0-{items}"));
    assert!(stats["slices"].as_u64().unwrap() > 0);
    for wrong in ["run/0/api/slice?item=99999&slice=0", "run/0/api/slice?item=0&slice=0"] {
        assert_eq!(viewer.get(wrong).0, 404, "{wrong}");
    }
    for odd in ["from=NaN&to=inf&px=9", "from=1e300&to=-1e300&px=4000000000&items=0-4294967295,x"] {
        assert_eq!(viewer.get(&format!("run/0/api/window?{odd}")).0, 200, "{odd}");
    }
    let (status, report) = viewer.get("run/0/report");
    assert!(status == 200 && String::from_utf8_lossy(&report).contains("Kernels"));
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.xplane.pb");
    std::fs::write(&file, [0x0a, 0xff, 0xff, 0x03, 0x12]).unwrap();
    let viewer = Running::start(options(std::slice::from_ref(&file)));
    let status = viewer.read("0");
    assert_eq!(status["state"], "failed");
    assert!(status["why"].as_str().unwrap().contains("cut.xplane.pb"), "{status}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let missing = runtime.block_on(Viewer::start(options(&[folder.path().join("none")])));
    assert!(matches!(missing, Err(ServerError::Read { .. })));
}
