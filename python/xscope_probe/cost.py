"""What recording costs, measured in the process that pays for it.

CPU time, so that what else runs on the machine does not count, and the quickest of some loops, with
caches as warm as they get: the figure is what recording takes at least.
"""

import time

from .wrap import Probe, wrap

_LOOPS = 5
_CALLS = 20
_RIDS = 8
# A text comes in so many spans of a process.
_USES = 4
# Further records of a call with rids: an argument for each, and the texts that come first.
_FURTHER = _RIDS + _RIDS / _USES

_ROW = {"module": "xscope", "name": "cost", "span": "cost", "request": "key", "args": {"size": "size"}}


def cost_of_recording(runtime):
    """Nanoseconds of a span with one argument, and of each further record that a span needs."""

    def per_call(row):
        return _per_call(wrap(_call, Probe(runtime, row)))

    plain = per_call(_ROW)
    many = per_call({**_ROW, "rids": "rids"})
    return max(0, round(plain - _per_call(_call))), max(0, round((many - plain) / _FURTHER))


def _call(key, size, rids):
    return None


def _per_call(function):
    return min(_loop(function, number) for number in range(_LOOPS)) / _CALLS


def _loop(function, number):
    calls = [(key, 1, [f"{number}-{key // _USES}-{n}" for n in range(_RIDS)]) for key in range(_CALLS)]
    begun = time.thread_time_ns()
    for call in calls:
        function(*call)
    return time.thread_time_ns() - begun
