//! Verdicts on loads in simulated time: right in at least 95 of 100 seeded trials each.

use xscope_load::{
    Ask, AskScore, Backend, CompileSign, Evidence, FailureKind, Labels, Plan, Sample, TrialSamples,
    Workload, point_result,
};
use xscope_trace::Nanos;
use xscope_trace::results::{CauseKind, Judgement, PointResult};

/// A server that takes requests one after the other, and a client that sends them.
#[derive(Clone, Copy)]
struct Scene {
    arrivals: &'static str,
    requests: usize,
    /// Mean time that a request takes, and whether it is drawn.
    service_ms: f64,
    is_random: bool,
    /// How late the client sends.
    late_ms: f64,
    /// This request stalls for so long while a program is compiled.
    stall: Option<(usize, f64)>,
    wrong: Option<usize>,
    /// How much of its one core the client takes; `None` if its server takes of the same.
    cpu: Option<f64>,
}

const CALM: Scene = Scene {
    arrivals: "closed:1",
    requests: 300,
    service_ms: 10.0,
    is_random: true,
    late_ms: 0.0,
    stall: None,
    wrong: None,
    cpu: Some(0.1),
};

/// xorshift, seeded.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(u32::MAX) + 1e-12
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().min(1.0).ln() * mean
    }
}

fn nanos(ms: f64) -> Nanos {
    #[expect(clippy::cast_possible_truncation, reason = "times of a test are short")]
    let nanos = (ms * 1e6) as i64;
    Nanos(nanos)
}

impl Scene {
    fn play(self, seed: u64) -> (PointResult, Vec<CompileSign>) {
        let mut random = Random(seed * 0x9e37_79b9 + 1);
        let rate = self.arrivals.split_once(':').and_then(|(kind, rate)| match kind {
            "closed" => None,
            _ => rate.trim_end_matches("/s").parse::<f64>().ok(),
        });
        let (mut due, mut free) = (0.0_f64, 0.0_f64);
        let (mut samples, mut signs) = (Vec::new(), Vec::new());
        for index in 0..self.requests {
            due = match rate {
                None => free,
                Some(rate) => due + random.exponential(1e3 / rate),
            };
            let sent = due + self.late_ms * random.unit() * 2.0;
            let mut took = match self.is_random {
                true => 0.5 * self.service_ms + random.exponential(0.5 * self.service_ms),
                false => self.service_ms,
            };
            let begun = sent.max(free);
            if let Some((_, stall)) = self.stall.filter(|(at, _)| *at == index) {
                took += stall;
                let (from, to) = (nanos(begun + took - 1.0), nanos(begun + took));
                signs.push(CompileSign { from, to, text: "#cache_miss: 1".to_owned() });
            }
            free = begun + took;
            samples.push(Sample {
                intended: nanos(due),
                sent: Some(nanos(sent)),
                end: nanos(free),
                items: 1,
                failure: (self.wrong == Some(index)).then_some(FailureKind::WrongSum),
                ..Sample::default()
            });
        }
        (self.judge(samples, rate, &signs), signs)
    }

    fn judge(self, samples: Vec<Sample>, rate: Option<f64>, signs: &[CompileSign]) -> PointResult {
        let ask = AskScore {
            items: 1.into(),
            query_tokens: 1.into(),
            item_tokens: 1.into(),
            labels: Labels::Drawn(2),
            item_first: false,
            apply_softmax: true,
        };
        let mut workload = Workload::new(Ask::Score(ask));
        workload.arrivals = self.arrivals.parse().expect("arrivals");
        workload.requests = Some(1);
        let plan = Plan::new("p", workload, Backend::Sglang).expect("a workload that can be made");
        let failures = samples.iter().filter_map(|sample| sample.failure);
        let failures = failures.map(|kind| (kind, (1, "wrong".to_owned()))).collect();
        let ended = samples.iter().map(|sample| sample.end).max().unwrap_or_default();
        let window = TrialSamples {
            samples,
            failures,
            ended,
            wall: ended,
            cpu: self.cpu.map(|share| nanos(ended.as_millis() * share)),
            cores: 1,
            requested_per_sec: rate,
            ..TrialSamples::default()
        };
        let compiles = signs.to_vec();
        let evidence = Evidence { compiles, detected_by: "log".to_owned(), ..Evidence::default() };
        point_result(&plan, &[window], &evidence)
    }
}

/// Plays a scene with 100 seeds; the cause is there (or is not) in at least 95 of them.
fn check(name: &str, scene: Scene, cause: CauseKind, is_there: bool) {
    let right = (1..=100).filter(|&seed| {
        let (result, _) = scene.play(seed);
        result.validity.causes.iter().any(|found| found.cause == cause) == is_there
    });
    let right = right.count();
    assert!(right >= 95, "{name}: {cause:?} is right in {right} of 100");
}

#[test]
fn overload_is_told_from_what_a_server_carries() {
    let at = |arrivals| Scene { arrivals, requests: 500, ..CALM };
    // The server carries 100/s.
    check("70 %", at("poisson:70/s"), CauseKind::Overloaded, false);
    check("70 %", at("poisson:70/s"), CauseKind::OfferedLimited, true);
    check("85 %", at("poisson:85/s"), CauseKind::Overloaded, false);
    check("130 %", at("poisson:130/s"), CauseKind::Overloaded, true);
    check("200 %", at("poisson:200/s"), CauseKind::Overloaded, true);
    check("130 %", at("poisson:130/s"), CauseKind::OfferedLimited, false);
    check("closed", CALM, CauseKind::Overloaded, false);
}

#[test]
fn a_late_client_is_not_taken_for_a_slow_server() {
    let at = |late_ms| Scene { arrivals: "poisson:50/s", late_ms, ..CALM };
    check("on time", at(0.05), CauseKind::ClientLimited, false);
    check("late", at(5.0), CauseKind::ClientLimited, true);
    check("closed and late", Scene { late_ms: 5.0, ..CALM }, CauseKind::ClientLimited, true);
    check("closed", CALM, CauseKind::ClientLimited, false);
    check("busy", Scene { cpu: Some(1.0), ..CALM }, CauseKind::ClientLimited, true);
    // A server in the client's own process keeps it busy.
    let (result, _) = Scene { cpu: None, ..CALM }.play(1);
    assert_eq!(result.validity.status, Judgement::Valid);
    assert_eq!(result.client.cpu_cores.value, None);
}

#[test]
fn a_compilation_in_the_window_is_found_and_its_victims_are_told_apart() {
    let scene = Scene { stall: Some((150, 2000.0)), arrivals: "poisson:50/s", ..CALM };
    check("stall", scene, CauseKind::CompileInWindow, true);
    check("none", CALM, CauseKind::CompileInWindow, false);
    for seed in 1..=100 {
        let (result, _) = scene.play(seed);
        let split = result.compile.unwrap();
        assert_eq!(split.clean.n + split.hit.n, 300);
        assert!(split.hit.max_ms.value.unwrap() >= 2000.0);
        // All that waited behind it were in flight when it ended.
        assert!(split.clean.p99_ms.value.unwrap() < 2000.0, "{split:?}");
    }
}

#[test]
fn one_wrong_answer_is_enough_and_few_samples_are_not() {
    check("wrong", Scene { wrong: Some(7), ..CALM }, CauseKind::WrongAnswers, true);
    check("right", CALM, CauseKind::WrongAnswers, false);
    check("few", Scene { requests: 99, ..CALM }, CauseKind::TooFewSamples, true);
    check("enough", CALM, CauseKind::TooFewSamples, false);
    let (result, _) = Scene { requests: 99, ..CALM }.play(1);
    assert_eq!(result.validity.status, Judgement::Valid, "nobody asked for p99");
    assert!(result.validity.spoils("p99_ms") && !result.validity.spoils("p95_ms"));
}
