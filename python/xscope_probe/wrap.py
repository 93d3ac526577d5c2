"""Wraps functions of the server so that their calls are recorded.

What a wrapper does besides calling is in `Probe.enter` and `Probe.leave`, which never raise: an
error is counted, and after too many of them nothing is recorded any more.
"""

import contextvars
import functools
import inspect
import threading

from .paths import MISSING, compile_paths, scalar
from .spool import now

_MOST_STAMPS = 65536
_MOST_PENDING = 8
_MOST_RIDS = 4096

# The HTTP request that the running code works for.
_REQUEST = contextvars.ContextVar("xscope_request", default=None)

# What a thread is in the middle of: the batch that it runs, the spans that wait for their batch.
_THREAD = threading.local()

_SKIP = object()


class _Context:
    """An HTTP request under way: its key, what its items are called, moments to remember."""

    __slots__ = ("key", "rids", "marks", "token")

    def __init__(self, key):
        self.key = key
        self.rids = []
        self.marks = {}
        self.token = None


class Call:
    """One call under way: when it began, and what must be undone at its end."""

    __slots__ = ("start", "context", "batch", "outer_batch", "early")

    def __init__(self, start):
        self.start = start
        self.context = None
        self.batch = None
        self.outer_batch = None
        self.early = None


class Probe:
    """One row of a table, made to fit one function."""

    def __init__(self, runtime, row, parameters):
        def path(key):
            return compile_paths(row[key], parameters) if key in row else None

        self.runtime = runtime
        self.label = f"{row['module']}:{row['name']}"
        self.span = row.get("span")
        self.until_first = row.get("until") == "first"
        self.drop = row.get("drop")
        self.opens = row.get("opens", False)
        self.in_request = row.get("in_request", False)
        self.scope = row.get("scope", False)
        self.after = row.get("after")
        self.request, self.rids, self.link = path("request"), path("rids"), path("link")
        self.batch_next = row.get("batch") == "next"
        self.batch = None if self.batch_next else path("batch")
        self.span_by, self.spans = path("span_by"), row.get("spans", {})
        self.args = [
            (name, compile_paths(text, parameters)) for name, text in row.get("args", {}).items()
        ]
        self.when = [
            (compile_paths(text, parameters), values) for text, values in row.get("when", {}).items()
        ]
        self.head, self.tail = row.get("head"), row.get("tail")
        self.mark_start, self.mark_end = row.get("mark_start"), row.get("mark_end")
        self.stamp = self._stamp(row.get("stamp"), parameters)
        self.wait = self._stamp(row.get("wait"), parameters)
        self.early = row.get("at") == "start"
        memory = row.get("memory", {})
        self.memory_start, self.memory_end = memory.get("start"), memory.get("end")
        self.memory_size = "size" in memory and compile_paths(memory["size"], parameters)
        # Whether the start of a call needs more than to look at the clock.
        self.enters = bool(
            self.opens or self.in_request or self.scope or self.when or self.head
            or self.mark_start or self.early or self.memory_start
        )  # fmt: skip

    @staticmethod
    def _stamp(row, parameters):
        return row and {**row, "keys": compile_paths(row["keys"], parameters)}

    # Only these two are called by wrappers.

    def enter(self, args, kwargs):
        try:
            return self._enter(args, kwargs)
        except Exception as error:
            self.runtime.failed(self.label, error)
            return _SKIP

    def leave(self, call, args, kwargs, result, error):
        try:
            self._leave(call, now(), args, kwargs, result, error)
            if self.memory_end and error is None:
                size = scalar(self.memory_size(args, kwargs, result)) if self.memory_size else None
                self.runtime.remember_memory(self.memory_end, size)
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

    def _enter(self, args, kwargs):
        self.runtime.fault("enter", self.label)
        for path, values in self.when:
            if scalar(path(args, kwargs, None)) not in values:
                return _SKIP
        if self.memory_start:
            self.runtime.remember_memory(self.memory_start)
        context = _REQUEST.get()
        if self.in_request and context is None:
            return _SKIP
        call = Call(now())
        if self.opens:
            context = call.context = _Context(self.runtime.new_request())
            context.token = _REQUEST.set(context)
        if context is not None:
            if self.head:
                self._gap(self.head, context, call.start)
            if self.mark_start:
                context.marks[self.mark_start] = call.start
        if self.early:
            call.early = self._facts(args, kwargs, None)
        if self.scope and self.batch is not None:
            call.batch = scalar(self.batch(args, kwargs, None))
            call.outer_batch = getattr(_THREAD, "batch", None)
            _THREAD.batch = call.batch
        return call

    def _leave(self, call, end, args, kwargs, result, error):
        context = call.context
        if context is not None:
            if _REQUEST.get() is context:
                _REQUEST.reset(context.token)
        else:
            context = _REQUEST.get()
        if call.batch is not None:
            _THREAD.batch = call.outer_batch
        self.runtime.fault("leave", self.label)
        if self.after and error is None and args:
            self.runtime.wrap_attributes(args[0], self.after, self.label)
        if error is not None and not self.opens and not isinstance(error, Exception):
            return
        if self.stamp and error is None:
            self.runtime.stamp(self.stamp, args, kwargs, result, end)
        if self.wait and error is None:
            self.runtime.waited(self.wait, args, kwargs, result, call.start)
        if context is not None:
            if self.tail:
                self._gap(self.tail, context, end)
            if self.mark_end:
                context.marks[self.mark_end] = end
            if self.link is not None:
                self._link(context, args, kwargs, result)
        if self.span is not None:
            facts = call.early or self._facts(args, kwargs, result)
            self._record(call, end, context, facts, error)

    def _gap(self, gap, context, end):
        """A span from a moment of the request to this one."""
        start = context.marks.get(gap["since"])
        if start is not None and start < end:
            self.runtime.write(gap["span"], start, end, context.key, None, (), True)

    def _link(self, context, args, kwargs, result):
        found = self.link(args, kwargs, result)
        for rid in found if isinstance(found, (list, tuple)) else [found]:
            if isinstance(rid, str) and len(context.rids) < _MOST_RIDS:
                context.rids.append(rid)

    def _facts(self, args, kwargs, result):
        """(name, request, batch, arguments), as the paths say."""
        name = self.span
        if self.span_by is not None:
            name = self.spans.get(scalar(self.span_by(args, kwargs, result)), name)
        one = lambda path: None if path is None else scalar(path(args, kwargs, result))
        request, batch = one(self.request), one(self.batch)
        pairs = []
        for key, path in self.args:
            value = path(args, kwargs, result)
            for value in value if isinstance(value, (list, tuple)) else (value,):
                value = None if value is MISSING else scalar(value)
                if value is not None:
                    pairs.append((key, value))
        rids = [] if self.rids is None else self.rids(args, kwargs, result)
        if rids is not MISSING:
            texts = [rid for rid in rids if isinstance(rid, str)]
            if request is None and batch is None and not self.batch_next and texts:
                request = texts[0]
            pairs.extend(("rid", rid) for rid in texts)
        return name, request, batch, pairs

    def _record(self, call, end, context, facts, error):
        name, request, batch, pairs = facts
        pairs = list(pairs)
        if request is None and context is not None:
            request = context.key
        if self.opens:
            pairs.extend(("rid", rid) for rid in context.rids)
        if error is not None:
            pairs.append(("error", type(error).__name__))
        if batch is None and request is None:
            batch = getattr(_THREAD, "batch", None)
        overlaps = context is not None
        if self.batch_next:
            pending = _pending()
            if len(pending) < _MOST_PENDING:
                pending.append((name, call.start, end, request, pairs, overlaps))
            return
        if batch is not None:
            pending = _pending()
            for earlier, start, stop, owner, more, over in pending:
                self.runtime.write(earlier, start, stop, owner, batch, more, over)
            pending.clear()
        self.runtime.write(name, call.start, end, request, batch, pairs, overlaps)


def _pending():
    pending = getattr(_THREAD, "pending", None)
    if pending is None:
        pending = _THREAD.pending = []
    return pending


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
    enter = probe.enter if probe.enters else None

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        if not control[0]:
            return function(*args, **kwargs)
        call = Call(now()) if enter is None else enter(args, kwargs)
        if call is _SKIP:
            return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            probe.leave(call, args, kwargs, None, error)
            raise
        if probe.drop is None or not probe.is_empty(result):
            probe.leave(call, args, kwargs, result, None)
        return result

    return recorded


def _wrap_async(function, probe):
    control = probe.runtime.control

    @functools.wraps(function)
    async def recorded(*args, **kwargs):
        if not control[0]:
            return await function(*args, **kwargs)
        call = probe.enter(args, kwargs)
        if call is _SKIP:
            return await function(*args, **kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            probe.leave(call, args, kwargs, None, error)
            raise
        if probe.drop is None or not probe.is_empty(result):
            probe.leave(call, args, kwargs, result, None)
        return result

    return recorded


def _wrap_generator(function, probe, proxy):
    control = probe.runtime.control

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        if not control[0]:
            return function(*args, **kwargs)
        call = probe.enter(args, kwargs)
        generator = function(*args, **kwargs)
        return generator if call is _SKIP else proxy(generator, probe, call, args, kwargs)

    return recorded


class _Proxy:
    """A generator whose span ends with its first value or with itself, whichever is asked for."""

    def __init__(self, generator, probe, call, args, kwargs):
        self._generator, self._probe = generator, probe
        self._left = (call, args, kwargs)

    def _leave(self, result, error):
        if self._left is not None:
            (call, args, kwargs), self._left = self._left, None
            self._probe.leave(call, args, kwargs, result, error)

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
