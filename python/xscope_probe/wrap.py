"""Wraps functions of the server so that their calls are recorded.

A wrapper is Python that is written for its function: between two calls the model runs and takes the
caches, so that every further function on the way, and every step of one, comes from memory. It reads
the clock and what the call is about, writes a note of that to the `Recorder`, and never raises: an
error is counted, and after too many of them nothing is recorded any more.
"""

import functools
import inspect
from marshal import dumps
from threading import get_ident

from . import paths
from .generators import AsyncGenerator, Generator
from .place import here, open_request
from .recorder import error_of
from .signature import anything, names_of, signature_of
from .spool import FORMAT, now


class Probe:
    """One row of a table: what is to be found out of a call, and what notes of it mean."""

    def __init__(self, runtime, row):
        self.runtime = runtime
        self.label = f"{row['module']}:{row['name']}"
        self.span, self.spans = row.get("span"), row.get("spans", {}) if "span_by" in row else None
        self.until_first = row.get("until") == "first"
        self.drop = row.get("drop")
        self.opens = row.get("opens", False)
        self.in_request = row.get("in_request", False)
        self.after = row.get("after")
        self.when = row.get("when", {})
        batch = row.get("batch")
        self.batch_of = batch if batch in ("next", "around") else None
        self.stamp, self.wait = row.get("stamp"), row.get("wait")
        self.head, self.tail = row.get("head"), row.get("tail")
        self.mark_start, self.mark_end = row.get("mark_start"), row.get("mark_end")
        memory, args = row.get("memory", {}), row.get("args", {})
        self.memory_start, self.memory_end = memory.get("start"), memory.get("end")
        self.size, self.link, self.keys = memory.get("size"), row.get("link"), list(args)
        # What a note says of a call beside times, thread and request: what it is to the reader, and its path.
        found = [
            ("kind", row.get("span_by")), ("request", row.get("request")),
            ("batch", None if self.batch_of else batch), ("rids", row.get("rids")),
            ("stamped", self.stamp and self.stamp["keys"]), ("waited", self.wait and self.wait["keys"]),
            *(("arg", path) for path in args.values()),
        ]  # fmt: skip
        self.found = [(fact, path) for fact, path in found if path is not None]

    def definition(self, further):
        """What a reader of notes has to know; `further` facts stand behind what is found by paths."""
        return {
            "span": self.span,
            "spans": self.spans,
            "opens": self.opens,
            "batch": self.batch_of,
            "head": self.head and self.head["span"],
            "tail": self.tail and self.tail["span"],
            "stamp": self.stamp and self.stamp["name"],
            "wait": self.wait and [self.wait["span"], self.wait["since"]],
            "keys": self.keys,
            "facts": [fact for fact, _ in self.found] + further,
        }


def wrap(function, probe):
    """`function`, recorded by `probe`; what it is (async, generator, ...) stays."""
    for known, proxy in (
        (inspect.isasyncgenfunction, AsyncGenerator),
        (inspect.isgeneratorfunction, Generator),
    ):
        if known(function):
            return _wrap_generator(function, probe, proxy)
    call = "await xs_function" if inspect.iscoroutinefunction(function) else "xs_function"
    return functools.wraps(function)(_recorded(function, probe, signature_of(function), call))


class CallableAttribute:
    """A callable that an object holds, such as a jitted function, recorded; else as it was."""

    def __getattr__(self, name):
        if name == "_xscope":  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self._xscope, name)


def wrap_callable(function, probe):
    """A `CallableAttribute` with a class of its own, for a call looks in the class, and nowhere else."""
    call = _recorded(function, probe, anything(before="xs_self, /, "), "xs_function")
    recorded = type(CallableAttribute.__name__, (CallableAttribute,), {"__call__": call})()
    recorded._xscope = function
    return recorded


def _recorded(function, probe, signature, call):
    begin = "async def" if call.startswith("await") else "def"
    call = f"{call}({signature.passed})"
    lines = [
        f"{begin} xs_recorded({signature.declared}):",
        "    if not xs_control[0]:",
        f"        return {call}",
        "    xs_start = xs_now()",
        *_indented(_enter(probe, signature, f"return {call}")),
        "    xs_result = xs_error = None",
        "    try:",
        f"        xs_result = {call}",
        "        return xs_result",
        "    except BaseException as xs_raised:",
        "        xs_error = type(xs_raised)",
        "        raise",
        "    finally:",
        *_indented(_leave(probe, signature), 2),
    ]
    return _compiled(lines, function, probe, signature)["xs_recorded"]


def _wrap_generator(function, probe, proxy):
    control, signature = probe.runtime.control, anything(names_of(function))
    lines = [
        f"def xs_enter({signature.declared}):",
        "    xs_start = xs_now()",
        "    xs_place = None",
        *_indented(_enter(probe, signature, "return None")),
        "    return xs_start, xs_place",
        f"def xs_leave(xs_start, xs_place, xs_result, xs_error, {signature.declared}):",
        *_indented(_leave(probe, signature)),
    ]
    made = _compiled(lines, function, probe, signature)
    enter, leave = made["xs_enter"], made["xs_leave"]

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        entered = enter(*args, **kwargs) if control[0] else None
        generator = function(*args, **kwargs)
        if entered is None:
            return generator
        return proxy(
            generator, probe.until_first, lambda *left: leave(*entered, *left, *args, **kwargs)
        )

    return recorded


# Source. All names of ours begin with `xs_`, which no parameter does.


def _enter(probe, signature, give_up):
    """What a call needs to do first, besides looking at the clock; often nothing."""
    lines, conditions = [], []
    for number, path in enumerate(probe.when):
        lines += paths.lookup(f"xs_when_{number}", path, signature.root)
        conditions.append(f"xs_when_{number} not in xs_wanted[{number}]")
    if probe.in_request or probe.mark_start and not probe.opens:
        lines.append("xs_place = xs_here()")
    if probe.in_request:
        conditions.append("xs_place is None or xs_place.request is None")
    then = []
    if probe.memory_start:
        then.append("xs_runtime.remember_memory(xs_probe.memory_start)")
    if probe.opens:
        then.append("xs_place = xs_open(xs_recorder, xs_runtime.new_request())")
    if probe.mark_start:
        then += [
            "if xs_place is not None and xs_place.request is not None:",
            f"    xs_place.request.marks[{probe.mark_start!r}] = xs_start",
        ]
    if probe.runtime.faulty:
        lines.insert(0, "xs_runtime.fault('enter', xs_label)")
    if not (lines or then):
        return []
    return [
        "try:",
        *_indented(lines),
        f"    xs_skipped = {' or '.join(conditions) or False}",
        "    if not xs_skipped:",
        *_indented(then or ["pass"], 2),
        "except Exception as xs_failure:",
        "    xs_skipped = True",
        "    xs_runtime.failed(xs_label, xs_failure)",
        f"if xs_skipped: {give_up}",
    ]


def _leave(probe, signature):
    """Takes the note of a call that has ended."""
    lines, facts = ["xs_end = xs_now()"], []
    if probe.opens:
        lines.append("xs_place.close()")
    else:
        lines += [
            "xs_place = xs_here()",
            "if xs_place is None or xs_place.ident != xs_ident():",
            "    xs_place = xs_recorder.know(xs_place)",
        ]
    if probe.runtime.faulty:
        lines.append("xs_runtime.fault('leave', xs_label)")
    for number, (_, path) in enumerate(probe.found):
        lines += paths.lookup(f"xs_value_{number}", path, signature.root)
        facts.append(f"xs_value_{number}")
    further = {}
    for gap, name in ((probe.head, "head"), (probe.tail, "tail")):
        if gap:
            lines.append(f"xs_{name} = xs_place.request and xs_place.request.marks.get({gap['since']!r})")
            further[name] = f"xs_{name}"
    if probe.opens:
        further["own"] = "xs_place.request.rids"
    if probe.runtime.counts:
        further["count"] = "xs_count()"
    in_request = []
    if probe.link:
        lines += paths.lookup("xs_linked", probe.link, signature.root)
        in_request.append("if xs_linked is not None: xs_place.request.link(xs_linked)")
    if probe.mark_end:
        in_request.append(f"xs_place.request.marks[{probe.mark_end!r}] = xs_end")
    if in_request:
        lines += ["if xs_place.request is not None:", *_indented(in_request)]
    number = probe.runtime.recorder.define(probe.definition(list(further)))
    note = [str(number), "xs_start", "xs_end", "xs_place.thread", "xs_place.key", *facts, *further.values()]
    if probe.runtime.faulty:
        lines.append("xs_runtime.fault('write', xs_label)")
    lines += [
        f"xs_note = xs_dumps(({', '.join(note)}, xs_error and xs_error_of(xs_error)), {FORMAT})",
        "try: xs_recorder.write(xs_note)",
        "except ValueError: xs_recorder.make_room(xs_note)",
    ]
    then = []
    if probe.after and signature.first:
        then.append(f"xs_runtime.wrap_attributes({signature.first}, xs_probe.after, xs_label)")
    if probe.memory_end:
        then += paths.lookup("xs_size", probe.size, signature.root) if probe.size else ["xs_size = None"]
        then.append("xs_runtime.remember_memory(xs_probe.memory_end, xs_size)")
    if then:
        lines += ["if xs_error is None:", *_indented(then)]
    if probe.drop:
        lines = [f"if xs_error is not None or {_IS_SOMETHING[probe.drop]}:", *_indented(lines)]
    return [
        "try:",
        *_indented(lines),
        "except Exception as xs_failure:",
        "    xs_runtime.failed(xs_label, xs_failure)",
    ]


def _is_full(result):
    """Whether Python takes it for true, or cannot say."""
    try:
        return bool(result)
    except Exception:
        return True


# Of a result, whether it is none of an empty poll.
_IS_SOMETHING = {"none": "xs_result is not None", "empty": "xs_is_full(xs_result)"}


def _indented(lines, by=1):
    return ["    " * by + line for line in lines]


def _compiled(lines, function, probe, signature):
    recorder = probe.runtime.recorder
    space = {
        **paths.names(),
        **signature.defaults,
        "xs_control": probe.runtime.control,
        "xs_function": function,
        "xs_here": here,
        "xs_ident": get_ident,
        "xs_is_full": _is_full,
        "xs_label": probe.label,
        "xs_count": recorder.count.__next__,
        "xs_dumps": dumps,
        "xs_error_of": error_of,
        "xs_now": now,
        "xs_open": open_request,
        "xs_probe": probe,
        "xs_recorder": recorder,
        "xs_runtime": probe.runtime,
        "xs_wanted": list(probe.when.values()),
    }
    exec(compile("\n".join(lines), f"<xscope {probe.label}>", "exec"), space)
    return space
