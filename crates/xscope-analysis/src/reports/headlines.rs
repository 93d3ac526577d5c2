//! The findings that matter most: where the largest part of the devices' time could be won.

use xscope_trace::quality::{Code, Figures, Severity};

use crate::framework::Framework;
use crate::kernels::sums::{KernelGroup, by_name_and_scope};
use crate::layers::components::{COLLECTIVES, COPIES, UNKNOWN};
use crate::reports::analyze_report::AnalyzeReport;
use crate::reports::claim::{Advice, Basis, Claim, Headline, Late, Reached, Said, Share};
use crate::reports::command::analyze_command;
use crate::reports::totals::{self, of_windows};
use crate::section::Section;

/// How many findings a first page has.
const HEADLINES: usize = 3;

/// What is worth less than this has no place on a first page.
const LEAST_SHARE: f64 = 0.01;

/// How many letters of a name say which operations are meant.
const NAMING: usize = 60;

/// The findings of a report, the largest first.
pub(crate) fn headlines(report: &AnalyzeReport) -> Vec<Headline> {
    let mut all: Vec<Claim> = [
        failed(report),
        quality(report),
        idle(report),
        communication(report),
        copies(report),
        compiles(report),
        kernels(report),
        layers(report),
    ]
    .into_iter()
    .flatten()
    .filter(|claim| claim.share >= LEAST_SHARE)
    .collect();
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all.truncate(HEADLINES);
    all.iter().map(|claim| claim.headline(|show| analyze_command(report, show))).collect()
}

fn advice(text: impl Into<String>) -> Advice {
    Advice { text: text.into(), ..Advice::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Of a load of which nothing was answered no other figure means anything.
fn failed(report: &AnalyzeReport) -> Option<Claim> {
    let requests = &report.requests.as_ref()?.requests;
    (requests.measured == 0 && requests.failed > 0).then(|| Claim {
        said: Said::AllFailed { failed: requests.failed },
        section: Section::Requests,
        share: 1.0,
        advice: advice("see what the server answered, in its log and in requests.jsonl"),
        doubts: Vec::new(),
    })
}

/// An error makes everything else doubtful.
fn quality(report: &AnalyzeReport) -> Option<Claim> {
    let worst = report.quality.iter().find(|finding| finding.severity == Severity::Error)?;
    Some(Claim {
        said: Said::Wrong { message: worst.message.clone() },
        section: Section::Quality,
        share: 1.0,
        advice: advice("mend the capture before the figures are used"),
        doubts: Vec::new(),
    })
}

/// What makes causes of idle time doubtful.
fn doubts_of_causes(report: &AnalyzeReport) -> Vec<Code> {
    let causes = report.degraded.iter().filter(|row| row.figures == Figures::Causes);
    causes.map(|row| row.code).collect()
}

fn idle(report: &AnalyzeReport) -> Option<Claim> {
    let idle = totals::idle(report);
    let (cause, part) = *totals::causes(report).first()?;
    let cause =
        report.idle.iter().flat_map(|row| &row.causes).find(|row| row.cause == cause)?.cause;
    let doubts = doubts_of_causes(report);
    // What the clocks do not tell is not named.
    let code = totals::code(report, cause).first().copied().filter(|_| doubts.is_empty());
    Some(Claim {
        said: Said::Idle {
            idle,
            cause,
            part,
            code: code.map(|(name, part)| (name.to_owned(), part)),
        },
        section: Section::Idle,
        share: idle.value(),
        advice: idle_advice(cause, &doubts, report.framework),
        doubts,
    })
}

fn idle_advice(cause: &str, doubts: &[Code], framework: Option<Framework>) -> Advice {
    let of = |framework, text: &str| Advice { framework: Some(framework), ..advice(text) };
    match cause {
        "compile" => advice("warm up with the same shapes and constants first"),
        "transfer" => advice("keep inputs on the device or prefetch"),
        "no_request" => Advice {
            holds_if: "if this was to be a server under load",
            ..advice("capture while requests come, or look at busy time only")
        },
        "peer" => advice("look for imbalance among devices"),
        "blocked" => Advice {
            holds_if: "if the host could work meanwhile",
            ..advice(
                "copy without blocking; the call waits for earlier work, or for the copy to begin",
            )
        },
        "host" => advice("shorten the host's work or overlap it with the device"),
        _ if doubts.contains(&Code::LoadDropped) => {
            advice("give more memory with --memory-limit: the host's slices were left out")
        }
        _ => match framework {
            Some(framework @ (Framework::Jax | Framework::TensorFlow)) => {
                of(framework, "capture with host_tracer_level 2, or with the Python tracer")
            }
            Some(Framework::PyTorch) => of(
                Framework::PyTorch,
                "profile with `with_stack=True`, which records the Python code",
            ),
            _ => advice("record more of what the host does"),
        },
    }
}

fn communication(report: &AnalyzeReport) -> Option<Claim> {
    let exposed = totals::exposed_communication(report);
    let waiting = totals::waiting(report);
    let first = report.collectives.first()?;
    // Among several devices others always waited for one the longest; that alone says nothing of it.
    let waited_us = first.wait_us.value.unwrap_or(0.0);
    let late =
        first.late.first().filter(|late| 2.0 * late.caused_us > waited_us).map(|late| Late {
            device: late.device.clone(),
            collective: first.name.clone(),
            caused_us: late.caused_us,
            times: late.count,
            of: first.count,
        });
    let mostly_waits = waiting.is_some_and(|waiting| waiting.value() > 0.5);
    Some(Claim {
        section: Section::Collectives,
        share: exposed.value(),
        advice: match (mostly_waits, waiting) {
            (true, _) => advice("balance the devices' work: waiting, not the network, costs most"),
            (false, Some(_)) => {
                advice("overlap collectives with compute, or shard so that less is exchanged")
            }
            (false, None) => Advice {
                holds_if: "if it is not waiting for a late peer",
                ..advice("overlap collectives with compute, or shard so that less is exchanged")
            },
        },
        said: Said::Communication {
            exposed,
            waiting,
            all_known: report.collectives.iter().all(|row| row.wait_us.value.is_some()),
            late,
        },
        doubts: Vec::new(),
    })
}

fn copies(report: &AnalyzeReport) -> Option<Claim> {
    let exposed = totals::exposed_copies(report);
    let groups = operations(report);
    let largest = groups.iter().find(|it| is_copy(&it.costliest.category));
    let largest = largest.map(|it| it.name.to_owned());
    Some(Claim {
        said: Said::Copies { exposed, largest },
        section: Section::Devices,
        share: exposed.value(),
        advice: Advice {
            command: words(&["kernels"]),
            ..advice(
                "start copies earlier, beside computation, or keep what is copied on the device",
            )
        },
        doubts: Vec::new(),
    })
}

fn is_copy(category: &str) -> bool {
    crate::devices::timeline::class(category) == crate::devices::timeline::Class::Copy
}

fn compiles(report: &AnalyzeReport) -> Option<Claim> {
    let longest = totals::compiles(report).max_by_key(|row| row.duration)?;
    let took = totals::compiling(report)?;
    Some(Claim {
        said: Said::Compiles {
            count: totals::compiles(report).count() as u64,
            took,
            longest_us: longest.duration_us,
            program: longest.program.clone(),
        },
        section: Section::Compiles,
        share: took.value(),
        advice: advice(longest.advice.clone()),
        doubts: Vec::new(),
    })
}

/// Operations of one name and scope together, as the section shows them.
fn operations(report: &AnalyzeReport) -> Vec<KernelGroup<'_>> {
    let scopes = &report.layers.scopes;
    by_name_and_scope(&report.kernels, |kernel| {
        scopes.get(&kernel.meta).map_or(kernel.scope.as_str(), String::as_str)
    })
}

fn operations_us(report: &AnalyzeReport) -> f64 {
    report.kernels.iter().map(|kernel| kernel.self_us).sum()
}

fn kernels(report: &AnalyzeReport) -> Option<Claim> {
    let groups = operations(report);
    let first = groups.first()?;
    let roofline = &first.costliest.roofline;
    let bound = matches!(roofline.bound_by, "compute" | "memory");
    let reached = roofline.efficiency.value.filter(|_| bound);
    let inside = first.costliest.inside.as_ref().filter(|inside| inside.waits_for_copies());
    let naming: String = first.name.chars().take(NAMING).collect();
    let time =
        Share { part_us: first.self_us, whole_us: operations_us(report), of: Basis::Operations };
    Some(Claim {
        said: Said::Kernel {
            name: first.name.to_owned(),
            category: first.costliest.category.clone(),
            scope: first.scope.to_owned(),
            time,
            reached: reached.map(|share| Reached { share, peak: roofline.bound_by }),
            waits: inside.and_then(|inside| inside.dma_wait_share.value).map(|share| Share {
                part_us: share * first.costliest.total_us,
                whole_us: first.costliest.total_us,
                of: Basis::Kernel,
            }),
        },
        section: Section::Kernels,
        share: of_windows(report, first.self_us).value(),
        advice: Advice {
            command: words(&["kernels", "--name", &naming]),
            ..advice(match (bound, &roofline.efficiency.reason) {
                _ if inside.is_some() => {
                    "copy more at a time or further ahead (more buffers in the kernel's pipeline); see \
                     its stages"
                        .to_owned()
                }
                (true, _) => "see how it varies".to_owned(),
                (false, Some(reason)) => {
                    format!("what bounds it is not known ({reason}); see how it varies")
                }
                (false, None) => "what bounds it is not known; see how it varies".to_owned(),
            })
        },
        doubts: Vec::new(),
    })
}

fn layers(report: &AnalyzeReport) -> Option<Claim> {
    let whole_us = operations_us(report);
    let time = |us: f64| Share { part_us: us, whole_us, of: Basis::Operations };
    let components = || report.layers.components.iter();
    let is_part = |name: &str| ![UNKNOWN, COLLECTIVES, COPIES].contains(&name);
    let known = components().filter(|row| is_part(&row.name));
    let first = known.max_by(|a, b| a.self_us.total_cmp(&b.self_us));
    let unknown = components().find(|row| row.name == UNKNOWN).map_or(0.0, |row| row.self_us);
    let most = first.map_or(0.0, |row| row.self_us);
    let largest = first.map(|row| (row.name.clone(), time(row.self_us)));
    let (said, us, advice) = match (largest, unknown > most) {
        (largest, true) => {
            let text = match report.layers.in_scopes() < 0.5 {
                true => "see why they have no scope",
                false => "name the model's parts with --rules FILE; see why they are not known",
            };
            let advice = Advice { command: words(&["quality"]), ..advice(text) };
            (Said::Unknown { unknown: time(unknown), largest }, most, advice)
        }
        (Some((name, time)), false) => {
            let advice = Advice { command: where_to_look(report, &name), ..advice("see where") };
            (Said::Component { name, time }, most, advice)
        }
        (None, false) => return None,
    };
    Some(Claim {
        said,
        section: Section::Layers,
        share: of_windows(report, us).value(),
        advice,
        doubts: Vec::new(),
    })
}

/// What shows the operations of a component, if their scopes have its name, else its layers.
fn where_to_look(report: &AnalyzeReport, component: &str) -> Vec<String> {
    let mut parts = report.layers.parts.values().flatten();
    match parts.any(|part| part.scope.contains(component)) {
        true => words(&["kernels", "--scope", component]),
        false => words(&["layers"]),
    }
}
