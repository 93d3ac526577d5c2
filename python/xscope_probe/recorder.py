"""From what a call left behind to spans in a file.

The thread of a call only takes a note: between two calls the model runs and takes the caches, and
each further function that the thread had to go through would cost it microseconds. A thread of ours
makes spans of the notes, many at a time; a kill loses those of the last `_PAUSE`.
"""

import collections
import sys
import threading
import time

from .place import Place

# Long, because what wakes up finds its caches taken, too.
_PAUSE = 0.2
# After so many pauses without a note the thread sleeps until there is one.
_LINGER = 5
# With more notes than this, whoever takes one has to make spans of them.
_MOST_NOTES = 4096
# As many notes as there may be without the thread's knowledge, while it sleeps.
_ASLEEP = 0
_MOST_PENDING = 8
_MOST_RIDS = 4096
_MOST_STAMPS = 65536
_MOST_THREADS = 4096


class Recorder:
    """The notes of a process: (probe, start, end, place, facts, error's class)."""

    __slots__ = (
        "notes", "room", "lock", "_names", "_control", "_spool", "_span", "_failed", "_awake",
        "_thread", "_threaded", "_stamps", "_pending",
    )  # fmt: skip

    def __init__(self, control, spool, failed, threaded=True):
        self.notes = collections.deque()
        # Of threads, by their ids.
        self._names = {}
        self._control, self._spool, self._failed = control, spool, failed
        self._threaded = threaded
        self.forget()

    def forget(self):
        """As if nothing had happened; for a new process, whose notes those of its parent are not."""
        self.notes.clear()
        self._names.clear()
        # With more notes than this, whoever takes one has to call `wake`.
        self.room = _ASLEEP if self._threaded else _MOST_NOTES
        # Held by whoever writes. Reentrant: a signal handler or a finalizer may record while its thread is in here.
        self.lock = threading.RLock()
        # Writes a span, while there is somewhere to write to.
        self._span = None
        self._awake = threading.Event()
        self._thread = None
        # When something happened to a key, and a thread's spans that wait for a batch.
        self._stamps, self._pending = {}, {}

    def know(self, place):
        """The place of the running code, where `place` is None or of another thread."""
        return Place(self.thread(), None if place is None else place.request)

    def thread(self):
        """The running thread, as spans know it."""
        thread = threading.get_native_id()
        name = self._names.get(thread)
        if name is None:
            if len(self._names) >= _MOST_THREADS:
                self._names.clear()
            name = self._names[thread] = _name_of(threading.current_thread())
        return thread, name

    def wake(self):
        if self.room == _ASLEEP:
            self._start()
        if len(self.notes) > _MOST_NOTES:
            self.flush()

    def flush(self):
        """Makes spans of the notes that there are; whether there were any."""
        with self.lock:
            some = bool(self.notes)
            if some:
                self._with_spool(self._settle_notes)
            return some

    def put(self, name, start, end, *args):
        """Writes a span of the running thread, now."""
        thread = self.thread()
        self._with_spool(lambda: self._span(name, start, end, thread, None, None, args, True))

    def finish(self):
        """Makes spans of all there is, for there will be no more."""
        self.flush()
        if self._pending:
            self._with_spool(lambda: [self._give(thread, None, None) for thread in list(self._pending)])

    def _with_spool(self, write):
        with self.lock:
            if self._span is not None:  # by this thread, which was interrupted
                return
            try:
                spool = self._spool()
                if spool is None:
                    self.notes.clear()
                    return
                self._span = spool.span
                write()
                spool.commit()
            except Exception as error:
                self.notes.clear()
                self._failed("spool", error)
            finally:
                self._span = None

    def _settle_notes(self):
        notes = self.notes
        for _ in range(len(notes)):
            note = notes.popleft()
            try:
                self._settle(*note)
            except Exception as error:
                self._failed(note[0].label, error)

    def _start(self):
        with self.lock:
            self.room = _MOST_NOTES
            self._awake.set()
            if self._thread is not None:
                return
            try:
                self._thread = threading.Thread(target=self._run, name="xscope", daemon=True)
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                self._thread, self.room = None, _ASLEEP
                self.flush()
                return
            # A child of `multiprocessing` may end without what `atexit` knows.
            util = sys.modules.get("multiprocessing.util")
            if util is not None:
                util.Finalize(None, self.finish, exitpriority=0)

    def _run(self):
        idle = 0
        while True:
            time.sleep(_PAUSE)
            # While recording is off for a moment the notes wait, so that whoever compares times with and
            # without it finds all of its cost on one side.
            if (self._control[0] or idle == _LINGER) and self.flush():
                idle = 0
            else:
                idle += 1
            if idle > _LINGER:
                self._awake.clear()
                self.room = _ASLEEP
                if not self.notes:
                    self._awake.wait()
                self.room, idle = _MOST_NOTES, 0

    def _settle(self, probe, start, end, place, facts, error):
        thread, opened = place.thread, place.request
        kind, request, batch, rids, _, stamped, waited, linked, *values = facts
        if opened is not None and probe.head:
            self._gap(probe.head, opened, start, thread)
        # A call that was broken off has no span, but for a request.
        if error is not None and not probe.opens and not issubclass(error, Exception):
            return
        if error is None and (stamped or waited):
            self._stamp(probe, thread, stamped, waited, start, end)
        if opened is not None:
            if probe.tail:
                self._gap(probe.tail, opened, end, thread)
            if probe.mark_end:
                opened.marks[probe.mark_end] = end
            if linked:
                opened.rids += [rid for rid in _each(linked) if isinstance(rid, str)]
                del opened.rids[_MOST_RIDS:]
        if batch is not None and self._pending:
            self._give(thread, start, batch)
        if probe.span is None:
            return
        args = []
        if values:
            for key, value in zip(probe.keys, values):
                if value.__class__ is list:
                    args += [(key, one) for one in value if one is not None]
                elif value is not None:
                    args.append((key, value))
        if rids:
            rids = [rid for rid in _each(rids) if isinstance(rid, str)]
            args += [("rid", rid) for rid in rids]
            if rids and request is None and batch is None and not probe.batch_of:
                request = rids[0]
        if opened is not None:
            if request is None:
                request = opened.key
            if probe.opens:
                args += [("rid", rid) for rid in opened.rids]
        if error is not None:
            args.append(("error", error.__name__))
        name = probe.span if probe.spans is None else probe.spans.get(kind, probe.span)
        if probe.batch_of is None:
            self._span(name, start, end, thread, request, batch, args, opened is not None)
        else:
            self._hold(probe.batch_of, name, start, end, thread, request, args, opened is not None)

    def _stamp(self, probe, thread, stamped, waited, start, end):
        """Remembers when something happened to keys; writes how long those waited that were remembered."""
        for key in _each(stamped):
            if len(self._stamps) >= _MOST_STAMPS:
                self._stamps.pop(next(iter(self._stamps)))
            self._stamps[probe.stamp["name"], key] = end
        for key in _each(waited):
            since = self._stamps.pop((probe.wait["since"], key), None)
            if since is not None:
                self._span(probe.wait["span"], since, max(since, start), thread, key, None, (), True)

    def _gap(self, gap, opened, end, thread):
        """A span from a moment of the request to this one."""
        start = opened.marks.get(gap["since"])
        if start is not None and start < end:
            self._span(gap["span"], start, end, thread, opened.key, None, (), True)

    def _hold(self, batch_of, *span):
        """Keeps a span until its batch is known: its thread's next one, or that of the call around it."""
        _, _, _, thread, *_ = span
        if thread not in self._pending and len(self._pending) >= _MOST_THREADS:
            self._pending.clear()
        if len(self._pending.get(thread, ())) >= _MOST_PENDING:
            self._give(thread, None, None)
        self._pending.setdefault(thread, []).append((batch_of, *span))

    def _give(self, thread, start, batch):
        """Writes what a thread's call with this batch, begun at `start`, decides the batch of."""
        for batch_of, name, begun, end, _, request, args, overlaps in self._pending.pop(thread, ()):
            its = batch is not None and (batch_of == "next" or begun >= start)
            self._span(name, begun, end, thread, request, batch if its else None, args, overlaps)


def _each(found):
    """What a path for one or more values found, as a sequence."""
    if found is None:
        return ()
    return found if isinstance(found, (list, tuple)) else (found,)


def _name_of(thread):
    if thread is not threading.main_thread():
        return thread.name
    try:
        with open("/proc/self/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (main)"
    except OSError:
        return thread.name
