"""Wraps functions of the server so that their calls are recorded.

What a wrapper does besides calling is in `Probe.enter` and `Probe.leave`, which never raise: an
error is counted, and after too many of them nothing is recorded any more. They read the clock and
what a call is about, and leave the rest to the `Recorder`.
"""

import contextvars
import functools
import inspect
from threading import get_native_id

from .paths import compile_path, compile_paths
from .recorder import MOST_NOTES
from .spool import now

# The HTTP request that the running code works for.
_REQUEST = contextvars.ContextVar("xscope_request", default=None)

_SKIP = object()

# What a probe without paths finds.
_NOTHING = (None,) * 8


class _Context:
    """An HTTP request under way: its key, what its items are called, moments to remember."""

    __slots__ = ("key", "rids", "marks", "token")

    def __init__(self, key):
        self.key = key
        self.rids = []
        self.marks = {}
        self.token = None


class Probe:
    """One row of a table, made to fit one function."""

    def __init__(self, runtime, row, parameters):
        memory, args = row.get("memory", {}), row.get("args", {})
        self.runtime = runtime
        self.label = f"{row['module']}:{row['name']}"
        self.span, self.spans = row.get("span"), row.get("spans", {}) if "span_by" in row else None
        self.until_first = row.get("until") == "first"
        self.drop = row.get("drop")
        self.opens = row.get("opens", False)
        self.in_request = row.get("in_request", False)
        self.after = row.get("after")
        self.batch_next = row.get("batch") == "next"
        batch = None if self.batch_next else row.get("batch")
        self.scope = compile_path(batch, parameters) if row.get("scope") else None
        self.stamp, self.wait = row.get("stamp"), row.get("wait")
        self.head, self.tail = row.get("head"), row.get("tail")
        self.mark_start, self.mark_end = row.get("mark_start"), row.get("mark_end")
        self.memory_start, self.memory_end = memory.get("start"), memory.get("end")
        self.keys = list(args)
        paths = [
            row.get("span_by"), row.get("request"), batch, row.get("rids"), memory.get("size"),
            self.stamp and self.stamp["keys"], self.wait and self.wait["keys"], row.get("link"),
            *args.values(),
        ]  # fmt: skip
        self.facts = compile_paths(paths, parameters) if any(paths) else None
        self.when = [
            (compile_path(text, parameters), values) for text, values in row.get("when", {}).items()
        ]
        # Whether the start of a call needs more than to look at the clock.
        self.enters = bool(
            self.opens or self.in_request or self.scope or self.when or self.head
            or self.mark_start or self.memory_start
        )  # fmt: skip

    # Only these are called by wrappers.

    def enter(self, start, args, kwargs):
        """The request that the call opens, None if it opens none, `_SKIP` if it is not to be recorded."""
        try:
            runtime, opened = self.runtime, None
            if runtime.faulty:
                runtime.fault("enter", self.label)
            for path, values in self.when:
                if path(args, kwargs, None) not in values:
                    return _SKIP
            if self.memory_start:
                runtime.remember_memory(self.memory_start)
            context = _REQUEST.get()
            if self.in_request and context is None:
                return _SKIP
            if self.opens:
                context = opened = _Context(runtime.new_request())
                opened.token = _REQUEST.set(opened)
            if self.scope is not None or context is not None and (self.head or self.mark_start):
                batch = self.scope and self.scope(args, kwargs, None)
                runtime.recorder.notes.append((self, start, None, get_native_id(), context, batch, None))
            return opened
        except Exception as error:
            self.runtime.failed(self.label, error)
            return _SKIP

    def leave(self, start, opened, args, kwargs, result, error):
        try:
            end, runtime, context, facts = now(), self.runtime, _REQUEST.get(), None
            if opened is not None:
                if context is opened:
                    _REQUEST.reset(opened.token)
                context = opened
            if runtime.faulty:
                runtime.fault("leave", self.label)
            # A call that was broken off has no span, but for a request.
            if error is None or self.opens or isinstance(error, Exception):
                facts = _NOTHING if self.facts is None else self.facts(args, kwargs, result)
            recorder, thread = runtime.recorder, get_native_id()
            if thread not in recorder.names:
                recorder.know(thread)
            kind = None if error is None else type(error).__name__
            recorder.notes.append((self, start, end, thread, context, facts, kind))
            if recorder.asleep or len(recorder.notes) > MOST_NOTES:
                recorder.wake()
            if error is None:
                if self.after and args:
                    runtime.wrap_attributes(args[0], self.after, self.label)
                if self.memory_end:
                    runtime.remember_memory(self.memory_end, facts[4])
        except Exception as failure:
            self.runtime.failed(self.label, failure)

    def is_empty(self, result):
        """Whether the call is an empty poll, which is not recorded."""
        if self.drop == "none":
            return result is None
        try:
            return self.drop == "empty" and not result
        except Exception:
            return False


def parameters_of(function):
    """The names of a function's positional parameters."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def wrap(function, probe):
    """`function`, recorded by `probe`; what it is (async, generator, ...) stays."""
    if inspect.isasyncgenfunction(function):
        return _wrap_generator(function, probe, _AsyncGenerator)
    if inspect.iscoroutinefunction(function):
        return _wrap_async(function, probe)
    if inspect.isgeneratorfunction(function):
        return _wrap_generator(function, probe, _Generator)
    return _wrap_sync(function, probe)


# A wrapper of its own for `async`, although only `await` differs: what the two could share would be
# one more call around each poll of a spinning loop.
def _wrap_sync(function, probe):
    control = probe.runtime.control
    enter, leave = probe.enter if probe.enters else None, probe.leave
    is_empty = probe.is_empty if probe.drop else None

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        if not control[0]:
            return function(*args, **kwargs)
        start, opened = now(), None
        if enter is not None:
            opened = enter(start, args, kwargs)
            if opened is _SKIP:
                return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            leave(start, opened, args, kwargs, None, error)
            raise
        if is_empty is None or not is_empty(result):
            leave(start, opened, args, kwargs, result, None)
        return result

    return recorded


def _wrap_async(function, probe):
    control = probe.runtime.control

    @functools.wraps(function)
    async def recorded(*args, **kwargs):
        if not control[0]:
            return await function(*args, **kwargs)
        start = now()
        opened = probe.enter(start, args, kwargs)
        if opened is _SKIP:
            return await function(*args, **kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            probe.leave(start, opened, args, kwargs, None, error)
            raise
        if probe.drop is None or not probe.is_empty(result):
            probe.leave(start, opened, args, kwargs, result, None)
        return result

    return recorded


def _wrap_generator(function, probe, proxy):
    control = probe.runtime.control

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        if not control[0]:
            return function(*args, **kwargs)
        start = now()
        opened = probe.enter(start, args, kwargs)
        generator = function(*args, **kwargs)
        return generator if opened is _SKIP else proxy(generator, probe, start, opened, args, kwargs)

    return recorded


class _Proxy:
    """A generator whose span ends with its first value or with itself, whichever is asked for."""

    def __init__(self, generator, probe, start, opened, args, kwargs):
        self._generator, self._probe = generator, probe
        self._left = (start, opened, args, kwargs)

    def _leave(self, result, error):
        if self._left is not None:
            left, self._left = self._left, None
            self._probe.leave(*left, result, error)

    def _value(self, value):
        if self._probe.until_first:
            self._leave(value, None)
        return value

    def __getattr__(self, name):
        return getattr(self._generator, name)


class _AsyncGenerator(_Proxy):
    def __aiter__(self):
        return self

    def __anext__(self):
        return self._run(self._generator.__anext__())

    def asend(self, value):
        return self._run(self._generator.asend(value))

    def athrow(self, *error):
        return self._run(self._generator.athrow(*error))

    async def aclose(self):
        try:
            return await self._generator.aclose()
        finally:
            self._leave(None, None)

    async def _run(self, step):
        try:
            value = await step
        except StopAsyncIteration:
            self._leave(None, None)
            raise
        except BaseException as error:
            self._leave(None, error)
            raise
        return self._value(value)


class _Generator(_Proxy):
    def __iter__(self):
        return self

    def __next__(self):
        return self._run(self._generator.__next__)

    def send(self, value):
        return self._run(self._generator.send, value)

    def throw(self, *error):
        return self._run(self._generator.throw, *error)

    def close(self):
        try:
            return self._generator.close()
        finally:
            self._leave(None, None)

    def _run(self, step, *args):
        try:
            value = step(*args)
        except StopIteration as end:
            self._leave(end.value, None)
            raise
        except BaseException as error:
            self._leave(None, error)
            raise
        return self._value(value)


class CallableAttribute:
    """A callable that an object holds, such as a jitted function, recorded; else as it was."""

    def __init__(self, function, probe):
        self._xscope = (function, _wrap_sync(function, probe))

    def __call__(self, *args, **kwargs):
        return self._xscope[1](*args, **kwargs)

    def __getattr__(self, name):
        if name == "_xscope":  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self._xscope[0], name)
