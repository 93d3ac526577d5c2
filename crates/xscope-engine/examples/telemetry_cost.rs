//! What being recorded costs a request, with no capture running.
//!
//! One engine answers the same request over and over, with telemetry on and off in turn, in the
//! order on-off-off-on, so that a machine that grows slower or faster hits both alike. The
//! figures are of pairs: the median of the differences, and the interval in which the median of
//! all such differences lies with 95 % confidence (from the ranks, whatever the distribution).
//! As a check the same is done with off against off, where the truth is 0.
//!
//! ```text
//! cargo run --release -p xscope-engine --example telemetry_cost
//! ```

#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use xscope_engine::{Engine, EngineConfig, EngineHandle, ModelSource, memory::CountingAllocator};
use xscope_trace::{Nanos, clock};

/// As in the `xscope` binary.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const WARM_UP: usize = 50;
const PAIRS: usize = 1000;
const PROMPT_TOKENS: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = EngineConfig::new(ModelSource::Preset);
    config.port = 0;
    let engine = Engine::start(config)?;
    let mut client = Client::connect(&engine)?;
    for items in [1, 8] {
        let request = request(items);
        for _ in 0..WARM_UP {
            client.ask(&request)?;
        }
        println!("{items} items of {PROMPT_TOKENS} tokens, n = {PAIRS} pairs");
        measure("on against off ", &engine, &mut client, (&request, [true, false]))?;
        measure("off against off", &engine, &mut client, (&request, [false, false]))?;
    }
    Ok(())
}

fn request(items: usize) -> Vec<u8> {
    let ids: Vec<String> = (1..=PROMPT_TOKENS).map(|id| id.to_string()).collect();
    let items = vec![format!("[{}]", ids.join(",")); items].join(",");
    let body = format!(r#"{{"query":[],"items":[{items}],"label_token_ids":[1,2,3]}}"#);
    format!(
        "POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn measure(
    name: &str,
    engine: &EngineHandle,
    client: &mut Client,
    (request, [first, second]): (&[u8], [bool; 2]),
) -> Result<(), Box<dyn Error>> {
    let mut times = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            engine.set_telemetry([first, second][side]);
            let start = clock::monotonic();
            client.ask(request)?;
            times[side].push(clock::monotonic() - start);
        }
    }
    let mut differences: Vec<Nanos> =
        times[0].iter().zip(&times[1]).map(|(&first, &second)| first - second).collect();
    differences.sort_unstable();
    let [first, second] = times.map(median);
    // The ranks n/2 ± 0.98 √n of a sorted sample hold the median with 95 % confidence.
    let reach = (PAIRS.isqrt() * 98).div_ceil(100);
    let [low, middle, high] =
        [PAIRS / 2 - reach, PAIRS / 2, PAIRS / 2 + reach].map(|rank| differences[rank]);
    let percent = |time: Nanos| 100.0 * time.as_millis() / second.as_millis();
    println!(
        "  {name}: p50 {:.3} ms and {:.3} ms, ratio {:.4}; paired difference {:+.2} % of p50 \
         ({:+.2} % to {:+.2} %)",
        first.as_millis(),
        second.as_millis(),
        first.as_millis() / second.as_millis(),
        percent(middle),
        percent(low),
        percent(high),
    );
    Ok(())
}

fn median(mut times: Vec<Nanos>) -> Nanos {
    times.sort_unstable();
    times[times.len() / 2]
}

/// One connection that is kept open.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(engine: &EngineHandle) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(engine.addr())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer, which must be a 200.
    fn ask(&mut self, request: &[u8]) -> Result<(), Box<dyn Error>> {
        self.stream.get_mut().write_all(request)?;
        let mut length = 0;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.contains(" 200 ") {
            return Err(format!("the server answered {line:?}").into());
        }
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(())
    }
}
