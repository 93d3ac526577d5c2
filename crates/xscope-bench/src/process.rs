//! One process, from its start to its end: time, processor time and peak memory.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use wait4::Wait4 as _;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub wall: Duration,
    /// Of all cores, in user and kernel mode.
    pub cpu: Duration,
    pub peak_bytes: u64,
}

/// Runs a command to its end; returns what it wrote to its standard output, too.
pub(crate) fn run(command: &mut Command) -> Result<(Sample, Vec<u8>)> {
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut answer = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut answer)?;
    }
    let sample = finish(child, start, true).with_context(|| format!("{command:?} failed"))?;
    Ok((sample, answer))
}

/// Starts a server that listens at a port, and asks it for `target`; ends it after its answer.
pub(crate) fn ask(command: impl FnOnce(u16) -> Command, target: &str) -> Result<(Sample, Vec<u8>)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = command(port);
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let answer = get(port, target);
    let wall = start.elapsed();
    child.kill().context("cannot end the server")?;
    let sample = finish(child, start, false)?;
    Ok((Sample { wall, ..sample }, answer?))
}

fn finish(child: Child, start: Instant, must_succeed: bool) -> Result<Sample> {
    let used = child.wait4()?;
    let wall = start.elapsed();
    ensure!(!must_succeed || used.status.success(), "it ended with {}", used.status);
    let rusage = used.rusage;
    Ok(Sample { wall, cpu: rusage.utime + rusage.stime, peak_bytes: rusage.maxrss })
}

/// The body of a server's answer, which may take a while to listen.
fn get(port: u16, target: &str) -> Result<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error).context("the server does not listen"),
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else { bail!("the server's answer has no end of its header") };
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "the server refuses {target}");
    Ok(answer.split_off(end + 4))
}
