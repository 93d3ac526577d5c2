//! Whether a server has work, and as much as it gets: a profile of anything else says little.
//!
//! What servers say of themselves is sampled, so that the most that was seen lately stands for what
//! is there: a scheduler that only prefills has moments without any request in a batch.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use xscope_load::{LoadError, MetricSample, get_text};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// Over how many looks work must have stopped growing, and in how many of them it must be there.
const LOOKS: usize = 10;
const BUSY_LOOKS: usize = LOOKS / 2;

const IN_FLIGHT: [&str; 5] = [
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "xscope_queue_items",
];
const ANSWERED: [&str; 3] =
    ["xscope_requests_total", "sglang:num_requests_total", "vllm:request_success_total"];

/// What a server said at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    /// Requests that run or wait.
    in_flight: f64,
    /// Requests answered since its start; `None` if it does not count them.
    answered: Option<f64>,
    source: &'static str,
}

/// The latest looks at one server.
#[derive(Debug, Default)]
pub(crate) struct Work {
    looks: VecDeque<f64>,
    answered: Option<f64>,
    source: &'static str,
}

/// What the looks so far say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// The server says nothing of its work.
    Nothing,
    /// Too little work, or it still grows.
    NotYet(String),
    /// It has the work that it gets.
    Full(String),
}

impl Work {
    /// Looks once more. `wanted` is how many requests must be in flight; without it, they must have
    /// stopped growing.
    pub(crate) async fn look(&mut self, url: &str, wanted: Option<u32>) -> Seen {
        match look(url).await {
            Ok(None) => Seen::Nothing,
            Ok(Some(look)) => self.judge(look, wanted),
            // A scheduler that compiles answers late; what it will say is not known yet.
            Err(error) => Seen::NotYet(error.to_string()),
        }
    }

    fn judge(&mut self, look: Look, wanted: Option<u32>) -> Seen {
        let since = |before: Option<f64>| Some((look.answered? - before?).max(0.0));
        // Requests that came and went between two looks were in flight, too.
        let level = look.in_flight.max(since(self.answered).unwrap_or(0.0));
        self.answered = look.answered;
        self.source = look.source;
        self.looks.push_back(level);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let most = self.looks.iter().copied().fold(0.0, f64::max);
        let said = format!("{most:.0} requests in flight at most, says {}", self.source);
        let is_full = match wanted {
            Some(wanted) => level >= f64::from(wanted),
            None => self.is_steady(),
        };
        if is_full { Seen::Full(said) } else { Seen::NotYet(said) }
    }

    /// Whether work was there half of the time, and no more of it lately than before.
    fn is_steady(&self) -> bool {
        let busy = self.looks.iter().filter(|level| **level > 0.0).count();
        let most = |part: &mut dyn Iterator<Item = &f64>| part.copied().fold(0.0, f64::max);
        let before = most(&mut self.looks.iter().take(LOOKS / 2));
        let lately = most(&mut self.looks.iter().skip(LOOKS / 2));
        self.looks.len() == LOOKS && busy >= BUSY_LOOKS && lately <= before
    }
}

async fn look(url: &str) -> Result<Option<Look>, LoadError> {
    let answer = get_text(url, "/metrics", PATIENCE).await?;
    if let Some(look) = of_metrics(&answer.text) {
        return Ok(Some(look));
    }
    let answer = get_text(url, "/get_server_info", PATIENCE).await?;
    Ok(serde_json::from_str(&answer.text).ok().and_then(|info| of_info(&info)))
}

fn of_metrics(text: &str) -> Option<Look> {
    let samples =
        || text.lines().filter(|line| !line.starts_with('#')).filter_map(MetricSample::of);
    let sum = |names: &[&str]| {
        let of_scores = |sample: &MetricSample<'_>| {
            sample.label("route").is_none_or(|route| route == "/v1/score")
        };
        let found = samples().filter(|sample| names.contains(&sample.name)).filter(of_scores);
        found.map(|sample| sample.value).reduce(|a, b| a + b)
    };
    let (in_flight, answered) = (sum(&IN_FLIGHT), sum(&ANSWERED));
    (in_flight.is_some() || answered.is_some()).then_some(Look {
        in_flight: in_flight.unwrap_or(0.0),
        answered,
        source: "GET /metrics",
    })
}

/// What sglang-jax says of its schedulers.
fn of_info(info: &Value) -> Option<Look> {
    let states = info.get("internal_states")?.as_array()?;
    let of_state = |state: &Value| {
        let count = |field: &str| state.get(field)?.as_f64();
        let runs = count("running_batch_size")? + count("waiting_queue_size")?;
        // A batch that is only prefilled runs without being counted.
        let has_batch = state.get("cur_batch_is_none") == Some(&Value::Bool(false));
        Some(runs.max(f64::from(u8::from(has_batch))))
    };
    let in_flight = states.iter().filter_map(of_state).reduce(|a, b| a + b)?;
    Some(Look { in_flight, answered: None, source: "GET /get_server_info" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Look, Seen, Work, of_info, of_metrics};

    fn look(in_flight: f64, answered: Option<f64>) -> Look {
        Look { in_flight, answered, source: "GET /metrics" }
    }

    /// At which look the work counts as full.
    fn full_at(levels: &[f64], wanted: Option<u32>) -> Option<usize> {
        let mut work = Work::default();
        levels
            .iter()
            .position(|&level| matches!(work.judge(look(level, None), wanted), Seen::Full(_)))
    }

    #[test]
    fn work_is_full_when_it_grows_no_more() {
        let ramp: Vec<f64> = (0..20_u8).map(|n| f64::from(n.min(12))).collect();
        assert_eq!(full_at(&ramp, None), Some(17));
        assert_eq!(full_at(&[0.0; 50], None), None);
        // Sampled between batches, half of the looks see nothing.
        assert_eq!(full_at(&[3.0, 0.0].repeat(6), None), Some(9));
        // One request in a while is no load.
        assert_eq!(full_at(&[1.0, 0.0, 0.0, 0.0].repeat(10), None), None);
        assert_eq!(full_at(&ramp, Some(8)), Some(8));
        assert_eq!(full_at(&ramp, Some(13)), None);
    }

    #[test]
    fn answers_between_looks_were_in_flight() {
        let mut work = Work::default();
        assert!(matches!(work.judge(look(0.0, Some(100.0)), Some(4)), Seen::NotYet(_)));
        let seen = work.judge(look(0.0, Some(105.0)), Some(4));
        assert_eq!(seen, Seen::Full("5 requests in flight at most, says GET /metrics".to_owned()));
        // A restarted server counts from zero.
        assert!(matches!(work.judge(look(0.0, Some(1.0)), Some(4)), Seen::NotYet(_)));
    }

    #[test]
    fn servers_say_it_in_their_own_words() {
        let text = "# TYPE x gauge\nsglang:num_running_reqs{model_name=\"m\"} 3.0\n\
                    sglang:num_queue_reqs{model_name=\"m\"} 2.0\n";
        assert_eq!(of_metrics(text), Some(look(5.0, None)));
        let text = "xscope_requests_total{route=\"/v1/score\",status=\"200\"} 7\n\
                    xscope_requests_total{route=\"/metrics\",status=\"200\"} 70\n\
                    xscope_queue_items 1\n";
        assert_eq!(of_metrics(text), Some(look(1.0, Some(7.0))));
        assert_eq!(of_metrics("process_cpu_seconds_total 1\n"), None);

        let state = |running: u32, waiting: u32, none: bool| {
            json!({ "running_batch_size": running, "waiting_queue_size": waiting,
                    "cur_batch_is_none": none })
        };
        let info = |states: &[serde_json::Value]| of_info(&json!({ "internal_states": states }));
        assert_eq!(info(&[state(2, 1, false), state(4, 0, true)]).unwrap().in_flight, 7.0);
        assert_eq!(info(&[state(0, 0, false)]).unwrap().in_flight, 1.0);
        assert_eq!(info(&[]), None);
        assert_eq!(of_info(&json!({ "internal_states": [{}] })), None);
    }
}
