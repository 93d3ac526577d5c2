//! Everything that a finding can be about, in one table: how severe it is, which figures it touches,
//! what it means and what to do.

use std::fmt;

use serde::Serialize;

use crate::quality::Figures::{
    self, Averages, Causes, Costs, HostTimes, Joins, Latencies, Memory, Operations, Stages,
};
use crate::quality::Severity::{self, Error, Info, Warning};

/// Makes the codes and what is known of each from the table.
macro_rules! codes {
    ($($code:ident = $name:literal, $severity:ident, [$($figures:ident),*],
       $means:literal, $remedy:literal;)+) => {
        /// What a finding is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum Code {
            $(#[doc = $means] #[serde(rename = $name)] $code,)+
        }

        impl Code {
            /// All of them, by name.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// The stable, dotted name, for example `xplane.truncated`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// How severe it is where it does harm.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$code => $severity,)+
                }
            }

            /// The figures that it distorts.
            pub const fn touches(self) -> &'static [Figures] {
                match self {
                    $(Self::$code => &[$($figures),*],)+
                }
            }

            /// What it means, in Markdown.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => $means,)+
                }
            }

            /// What to do about it, in Markdown.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$code => $remedy,)+
                }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// In order of the names. What lost events of any kind touches `Operations`, `HostTimes` and `Memory`:
// it is not known which they were. What the server did and is measured rightly touches nothing.
codes! {
    BatchesFragmented = "batches.fragmented", Warning, [],
        "the items of a request ran in several batches",
        "send them together, or fewer at once";
    BatchesJoinedByTime = "batches.joined_by_time", Warning, [Joins],
        "the device does not know the server's batches; its work was joined to them by time and order (an `info` where no two were under way at once)",
        "profile one request at a time";
    BatchesRecompiled = "batches.recompiled", Warning, [],
        "forward passes had to compile; names the requests that waited, and what was new (labels, batch size, bucket, their combination)",
        "warm up with the same shapes and constants";
    ChromeBadEvent = "chrome.bad_event", Warning, [Operations, HostTimes, Memory],
        "events of a JSON file could not be read; they were left out",
        "capture again; the message names the first";
    ChromeEventCap = "chrome.event_cap", Error, [Operations, HostTimes, Memory],
        "a JSON file has exactly as many events as its writer keeps (1 or 5 million): later ones are lost",
        "read the XPlane file beside it";
    ChromeIgnoredEvent = "chrome.ignored_event", Info, [],
        "events of kinds that say nothing about time were left out",
        "nothing";
    // There is no figure that it could touch.
    ChromeNoEvents = "chrome.no_events", Warning, [],
        "a JSON file is a trace without events",
        "run something while it is captured";
    ChromeTruncated = "chrome.truncated", Error, [Operations, HostTimes, Memory],
        "a JSON file is damaged or cut off; what lies before was read",
        "copy or capture again; the message names the byte";
    ChromeTwoClocks = "chrome.two_clocks", Error, [Operations, HostTimes, Memory],
        "events of one JSON file are on clocks more than 100 days apart; those of the larger part were kept",
        "write all events of a file on one clock";
    ChromeUnfinished = "chrome.unfinished", Warning, [Operations, HostTimes],
        "slices were begun and never ended; they count as taking no time",
        "capture for longer than the work takes";
    ChromeUnmatchedEnd = "chrome.unmatched_end", Warning, [Operations, HostTimes],
        "slices ended that were never begun; they were left out",
        "begin to capture before the work";
    // A writer that was stopped wrote what happened until then, which stands.
    ChromeUnterminated = "chrome.unterminated", Info, [],
        "the array of a JSON file is not closed, as where its writer was stopped",
        "end the capture before its process";
    // The rest of the sources is compared all the same.
    ClockAmbiguousStep = "clock.ambiguous_step", Warning, [Causes],
        "sessions of several files begin or end with other executions, and those are too alike to tell which is which",
        "begin and end the captures together";
    ClockContradiction = "clock.contradiction", Error, [Causes],
        "what devices of several files did together cannot be put on one clock: an end lies before a start that it waits for",
        "give files of one run only, and all of them";
    ClockCorrected = "clock.corrected", Info, [],
        "the clocks of files were apart by more than can be, and their times were corrected by what their devices did together",
        "see `clocks`; run a time service on the hosts";
    ClockFarApart = "clock.far_apart", Warning, [Causes, Joins],
        "profiles of sessions more than 90 days apart were given together",
        "look at each alone";
    ClockInverted = "clock.inverted", Warning, [Causes, Joins],
        "device work starts before the host launched it (by the arrows from launches, or by the run ids of TPU programs and of the calls that enqueued them)",
        "what joins host and device is off by at least what the message says";
    ClockUnknown = "clock.unknown", Warning, [Causes, Joins],
        "files do not say when they began",
        "what joins them by time is not known to be right";
    // Of a comparison, whose verdicts say themselves what they rest on.
    CompareOrder = "compare.order", Warning, [],
        "all runs of one side came before all of the other: drift looks like a difference",
        "take turns, as `xscope bench ab` does";
    CompareSameRun = "compare.same_run", Warning, [],
        "a run of B is also one of the runs of A",
        "compare with runs of before the change only";
    CompareUnpaired = "compare.unpaired", Warning, [],
        "figures have different numbers of samples on the sides and were compared without pairs",
        "measure both sides as often";
    CompareWorkload = "compare.workload", Warning, [],
        "files do not name their workload in one way: that both sides were sent the same cannot be checked",
        "measure both with `xscope bench`";
    // Idle time and requests name compilations as their cause.
    CompileInWindow = "compile.in_window", Warning, [],
        "what waited for compilations is slow for that reason",
        "warm up with the same shapes and constants";
    CompileWarmUp = "compile.warm_up", Info, [],
        "programs were compiled while the server started and was warmed up, before or between what was measured",
        "nothing";
    CountersMissing = "counters.missing", Info, [],
        "nothing in the trace says how busy the units of a TPU or GPU were (XProf shows 0 for it)",
        "rates are from stated costs";
    DecodeWasted = "decode.wasted", Warning, [],
        "the server made tokens after a score, which nobody needs",
        "compare with a server that does not schedule ahead";
    // There is no figure that it could touch.
    DeviceLaunchedBefore = "device.launched_before", Info, [],
        "more than 1 % of the time of a GPU's work was launched before the capture began: no module is known of it",
        "begin to capture when the device has nothing to do, or `--from`";
    DeviceMissing = "device.missing", Error, [],
        "no operation of any device is in the trace",
        "check that work ran while it was captured and that the device tracer was on";
    DeviceOperationsLost = "device.operations_lost", Error, [Operations],
        "more than 1 % of the executions of programs have no operations, or of the launches no kernel: the device's buffer was full, or recording began or ended in between",
        "capture for a shorter time; PyTorch: with a warm-up step of the profiler";
    DeviceOverlap = "device.overlap", Warning, [Operations],
        "kernels lie over whole later ones of their stream, which cannot be: they took less time than recorded",
        "capture again";
    // Costs and scopes of such kernels are not known; those of the others stand.
    GpuCommandBuffers = "gpu.command_buffers", Warning, [],
        "kernels were launched as whole graphs and name no operation",
        "of JAX `XLA_FLAGS=--xla_gpu_enable_command_buffer=`, of PyTorch the profile of their capture beside this one, or eager mode";
    GraphsCaptured = "graphs.captured", Info, [],
        "kernels of replayed graphs have the modules that launched them when the graphs were captured; a profile of captures alone, taken before that of the work, is in no figure",
        "nothing";
    // What has no module says so; times and costs stand.
    GraphsUnlike = "graphs.unlike", Warning, [],
        "graphs were replayed whose kernels, by name and order, are in no capture that was given: no module is known of them",
        "give the capture of the same server, batch size and rank, of a profiler that names the kernels of launches (HIP's do, CUDA's do not)";
    HloMissing = "hlo.missing", Info, [],
        "operations of programs whose HLO the file lacks have neither scope nor cost",
        "`enable_hlo_proto`, no compilation cache";
    HloNotRejoined = "hlo.not_rejoined", Warning, [Costs],
        "too many programs under other ids than their events use",
        "capture for a shorter time";
    HloRejoined = "hlo.rejoined", Info, [],
        "programs from a compilation cache were joined by name and operations",
        "nothing";
    HloVariants = "hlo.variants", Warning, [Costs],
        "several programs fit one that ran; their scopes are the same, their shapes are not",
        "capture without the compilation cache";
    HostsDuplicate = "hosts.duplicate", Info, [],
        "several files name the same host",
        "give each machine its own host name";
    HostsSessions = "hosts.sessions", Warning, [],
        "the files are of several captures of a host, one after the other",
        "give the folder of the one that is wanted";
    JsonCapped = "json.capped", Error, [Operations, HostTimes, Memory],
        "a `trace.json.gz` has as many events as its writer keeps (1 or 5 million)",
        "read the XPlane file beside it";
    // Device figures are whole, and so are compilations; what else the host did is not.
    KernelsOutlier = "kernels.outlier", Warning, [Averages],
        "one execution of a kernel took more than all its others together, and 10 % of the operations' time",
        "look at it in the timeline, or leave it out with `--from`";
    LoadDropped = "load.dropped", Warning, [Causes],
        "slices of host threads were counted but not kept, for want of memory",
        "raise `--memory-limit`";
    LogNoDate = "log.no_date", Info, [],
        "lines of a server's log have no date and cannot be placed in time",
        "let the server log dates";
    LogZone = "log.zone", Info, [],
        "the time zone of a server's log is not known; it is read as UTC",
        "give the log with its run";
    MemoryReportSum = "memory_report.sum", Warning, [Memory],
        "the tensors of a memory report do not add up to its total",
        "write it again";
    PaddingCliff = "padding.cliff", Warning, [],
        "prompts just above the edge of a bucket are computed as if they filled the next one; how long that takes is the difference between the buckets' times, which must exceed what further tokens can explain and their 95 % intervals",
        "let the server have a bucket of the size that is named, and measure both with `xscope bench ab`";
    PprofDangling = "pprof.dangling", Warning, [Memory],
        "references of a memory profile lead nowhere; what they mean reads as unknown",
        "save it again";
    // There is no figure that it could touch.
    PprofEmpty = "pprof.empty", Warning, [],
        "a memory profile holds no samples",
        "save it after something was allocated";
    PprofTruncated = "pprof.truncated", Error, [Memory],
        "a memory profile is damaged or cut off; what lies before was read",
        "copy or save it again";
    PythonTracerOn = "python_tracer.on", Warning, [HostTimes],
        "host times are stretched (an `info` below 1000 calls, or 10,000 a second)",
        "`python_tracer_level` 0";
    RanksDuplicate = "ranks.duplicate", Warning, [Operations],
        "several files are of one rank at the same time; what it did counts twice",
        "give each file once";
    RanksMissing = "ranks.missing", Warning, [],
        "files of some ranks of a job are not there; in what these take part in nobody is called late",
        "give the files of all ranks";
    RequestsBadRow = "requests.bad_row", Warning, [Latencies],
        "rows of `requests.jsonl` cannot be read; their requests are missing",
        "copy the run again";
    // One request of all, which the others do not hang on.
    RequestsTornRow = "requests.torn_row", Warning, [],
        "`requests.jsonl` ends inside a row, as after a kill; that request is missing",
        "nothing";
    RequestsUnaccounted = "requests.unaccounted", Warning, [Stages],
        "more than 2 % of wall time is in no stage",
        "more probes";
    RequestsUnjoined = "requests.unjoined", Warning, [Stages],
        "requests have no span of the server",
        "start the server under `xscope run`";
    // Of requests to a server that went away; what devices did until then stands.
    RunFailed = "run.failed", Error, [Latencies],
        "the run failed: its server went away or could not be loaded",
        "see `logs/` of the run";
    RunFileChanged = "run.file_changed", Warning, [Operations, HostTimes, Joins, Memory],
        "a file of the run is not what it was when the run ended",
        "copy the run again";
    RunFileMissing = "run.file_missing", Error, [Operations, HostTimes, Joins, Memory],
        "a file that the run had is gone",
        "copy the run again";
    // What was recorded until then stands.
    RunInterrupted = "run.interrupted", Warning, [],
        "the run ended early",
        "use it with care";
    RunRunning = "run.running", Info, [],
        "the run is still going on",
        "look again when it has ended";
    // There is no figure that it could touch.
    RunUnreadable = "run.unreadable", Error, [],
        "no profile of the run can be read; what else it holds is shown",
        "copy the run again; the message says why";
    ScopesMissing = "scopes.missing", Info, [],
        "more than 20 % of the operations' time has no named scope",
        "of JAX `jax.named_scope`; of Chrome JSON, which lacks the HLO that has them, the XPlane file; of PyTorch, a profile taken with `with_stack=True`, which has its modules";
    SourceUnreadable = "source.unreadable", Error, [Operations, HostTimes, Joins, Memory],
        "a file of a folder could not be read",
        "capture again; the message names the byte";
    // Durations are what they were; totals and shares of the window have the slow start in them.
    WarmUpInWindow = "warm_up.in_window", Warning, [Averages],
        "the first execution of a program took over 3 times as long as the slowest later one (of 5 at least)",
        "capture later, or `--from`";
    WarmUpRequests = "warm_up.requests", Warning, [Averages],
        "requests of the warm-up ran while devices were recorded",
        "device figures have their work in them";
    WindowIdle = "window.idle", Warning, [Averages],
        "the busiest device idled more than 90 % of the window",
        "capture under load";
    XplaneAggregatedEvents = "xplane.aggregated_events", Info, [],
        "events carry a count instead of a time",
        "nothing";
    XplaneDamagedHlo = "xplane.damaged_hlo", Warning, [Costs],
        "programs could not be read whole; operations lack scopes",
        "capture again";
    XplaneDamagedLine = "xplane.damaged_line", Error, [Operations, HostTimes, Memory],
        "lines of an XPlane file are damaged; later events of them are lost",
        "copy or capture again";
    XplaneDamagedPlane = "xplane.damaged_plane", Error, [Operations, HostTimes, Memory],
        "a plane of an XPlane file is damaged; what lies behind in it is lost",
        "copy or capture again";
    XplaneLostChunk = "xplane.lost_chunk", Error, [Operations, HostTimes, Memory],
        "chunks of an XPlane file in Riegeli's form are damaged, cut off or packed in a way that is not read; all others were read",
        "copy or capture again; the message names the byte";
    XplaneProfilerError = "xplane.profiler_error", Error, [Operations, HostTimes, Memory],
        "the profiler itself says that it failed in something",
        "see the message, and capture again";
    // What it touches only its words say; what it lost is an error.
    XplaneProfilerWarning = "xplane.profiler_warning", Warning, [],
        "the profiler itself warns of something",
        "see the message";
    XplaneTruncated = "xplane.truncated", Error, [Operations, HostTimes, Memory],
        "an XPlane file is damaged or cut off; what lies before was read",
        "capture again, for a shorter time if the file was too large";
    // Spans make stages and name batches; counters beside them count memory. Latencies are the client's.
    XspanBadRecordSize = "xspan.bad_record_size", Warning, [Stages, Joins, Memory],
        "the header of a span file is damaged; records were read as if of the usual size",
        "copy the run again";
    XspanDamagedNote = "xspan.damaged_note", Warning, [Stages, Joins, Memory],
        "records of probes are damaged, or their process was killed in them",
        "copy the run again, or stop the server before it is killed";
    XspanDanglingArg = "xspan.dangling_arg", Warning, [Stages, Joins],
        "arguments belong to no span; they were left out",
        "copy the run again";
    XspanDropped = "xspan.dropped", Warning, [Stages, Joins, Memory],
        "a span file was full; later records were dropped",
        "record for a shorter time";
    // What a killed thread was in; whatever it had ended was written before.
    XspanHole = "xspan.hole", Warning, [],
        "records were begun and never finished: their threads were killed in them",
        "stop the server before it is killed";
    XspanIncompleteString = "xspan.incomplete_string", Warning, [Stages, Joins],
        "names or ids of spans lack their ends",
        "copy the run again";
    XspanInvalidUtf8 = "xspan.invalid_utf8", Warning, [Stages, Joins],
        "names or ids of spans are no text",
        "copy the run again";
    XspanMissingValue = "xspan.missing_value", Warning, [Joins, Memory],
        "counters or arguments of spans have no value; they were left out",
        "copy the run again";
    XspanNegativeDuration = "xspan.negative_duration", Warning, [Stages],
        "spans end before they start; they count as taking no time",
        "copy the run again";
    XspanNotClosed = "xspan.not_closed", Info, [],
        "the process that wrote a span file still runs or was killed",
        "nothing";
    XspanTruncated = "xspan.truncated", Warning, [Stages, Joins, Memory],
        "a span file is cut off",
        "copy the run again";
    XspanUndefinedString = "xspan.undefined_string", Warning, [Stages, Joins],
        "names or ids of spans are missing",
        "copy the run again";
    XspanUnknownKind = "xspan.unknown_kind", Warning, [Stages, Joins, Memory],
        "records are of a kind that this version does not know; they were left out",
        "read the run with the version that wrote it";
}
