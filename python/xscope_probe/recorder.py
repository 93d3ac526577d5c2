"""From what a call left behind to spans in a file.

The thread of a call only takes a note: between two calls the model runs and takes the caches, and
each further function that the thread had to go through would cost it microseconds. A thread of ours
makes spans of the notes, many at a time; a kill loses those of the last `_PAUSE`.
"""

import collections
import sys
import threading
import time

# Long, because what wakes up finds its caches taken, too.
_PAUSE = 0.2
# After so many pauses without a note the thread sleeps until there is one.
_LINGER = 5
# With more notes than this, whoever takes one has to make spans of them.
MOST_NOTES = 4096
_MOST_PENDING = 8
_MOST_RIDS = 4096
_MOST_STAMPS = 65536
_MOST_THREADS = 4096


class Recorder:
    """The notes of a process: (probe, start, end, thread, request's context, facts, error).

    The start of a call has a note of its own, without an end, where its probe asks for more than a span;
    its facts are the batch that the call works for.
    """

    __slots__ = (
        "notes", "names", "asleep", "_control", "_write", "_failed", "_lock", "_awake", "_thread",
        "_stamps", "_batches", "_pending",
    )  # fmt: skip

    def __init__(self, control, write, failed, threaded=True):
        self.notes = collections.deque()
        # Of the threads that took notes, by their ids: they may end before somebody asks.
        self.names = {}
        # Whether the next note has to wake the thread.
        self.asleep = threaded
        self._control, self._write, self._failed = control, write, failed
        # Reentrant: a signal handler or a finalizer may record while its thread is in here.
        self._lock = threading.RLock()
        self._awake = threading.Event()
        self._thread = None
        # When something happened to a key; the batches a thread is in, and its spans that wait for one.
        self._stamps, self._batches, self._pending = {}, {}, {}

    def know(self, thread):
        """Remembers what the running thread, with this id, is called."""
        if len(self.names) >= _MOST_THREADS:
            self.names.clear()
        self.names[thread] = _name_of(threading.current_thread())

    def here(self):
        """The running thread, for a span that needs no note."""
        thread = threading.get_native_id()
        if thread not in self.names:
            self.know(thread)
        return thread, self.names[thread]

    def wake(self):
        """To be called after a note while `asleep`, and past `MOST_NOTES`."""
        if self.asleep:
            self._start()
        if len(self.notes) > MOST_NOTES:
            self.flush()

    def flush(self):
        """Makes spans of the notes that there are; whether there were any."""
        with self._lock:
            count = len(self.notes)
            for _ in range(count):
                note = self.notes.popleft()
                try:
                    self._settle(*note)
                except Exception as error:
                    self._failed(note[0].label, error)
        return count > 0

    def _start(self):
        with self._lock:
            self.asleep = False
            self._awake.set()
            if self._thread is not None:
                return
            try:
                self._thread = threading.Thread(target=self._run, name="xscope", daemon=True)
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                self._thread, self.asleep = None, True
                self.flush()
                return
            # A child of `multiprocessing` may end without what `atexit` knows.
            util = sys.modules.get("multiprocessing.util")
            if util is not None:
                util.Finalize(None, self.flush, exitpriority=0)

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
                self.asleep = True
                if not self.notes:
                    self._awake.wait()
                self.asleep, idle = False, 0

    def _settle(self, probe, start, end, thread, context, facts, error):
        if end is None:
            self._begin(probe, start, thread, context, facts)
            return
        if probe.scope is not None:
            self._leave_batch(thread, start)
        if facts is None:
            return
        kind, request, batch, rids, _, stamped, waited, linked, *values = facts
        if error is None:
            self._stamp(probe, thread, stamped, waited, start, end)
        if context is not None:
            if probe.tail:
                self._gap(probe.tail, context, end, thread)
            if probe.mark_end:
                context.marks[probe.mark_end] = end
            for rid in _each(linked):
                if isinstance(rid, str) and len(context.rids) < _MOST_RIDS:
                    context.rids.append(rid)
        if probe.span is None:
            return
        pairs = list(zip(probe.keys, values))
        rids = [rid for rid in _each(rids) if isinstance(rid, str)]
        pairs.append(("rid", rids))
        if rids and request is None and batch is None and not probe.batch_next:
            request = rids[0]
        if context is not None:
            if request is None:
                request = context.key
            if probe.opens:
                pairs.append(("rid", context.rids))
        if error is not None:
            pairs.append(("error", error))
        name = probe.span if probe.spans is None else probe.spans.get(kind, probe.span)
        self._span(probe, name, start, end, thread, request, batch, pairs, context is not None)

    def _begin(self, probe, start, thread, context, batch):
        if context is not None:
            if probe.head:
                self._gap(probe.head, context, start, thread)
            if probe.mark_start:
                context.marks[probe.mark_start] = start
        if probe.scope is not None:
            self._of(self._batches, thread).append((start, batch))

    def _leave_batch(self, thread, start):
        batches = self._of(self._batches, thread)
        while batches and batches[-1][0] >= start:
            batches.pop()

    def _stamp(self, probe, thread, stamped, waited, start, end):
        """Remembers when something happened to keys; writes how long those waited that were remembered."""
        for key in _each(stamped):
            if len(self._stamps) >= _MOST_STAMPS:
                self._stamps.pop(next(iter(self._stamps)))
            self._stamps[probe.stamp["name"], key] = end
        for key in _each(waited):
            since = self._stamps.pop((probe.wait["since"], key), None)
            if since is not None:
                self._put(probe.wait["span"], since, max(since, start), thread, key, None, (), True)

    def _gap(self, gap, context, end, thread):
        """A span from a moment of the request to this one."""
        start = context.marks.get(gap["since"])
        if start is not None and start < end:
            self._put(gap["span"], start, end, thread, context.key, None, (), True)

    def _span(self, probe, name, start, end, thread, request, batch, pairs, overlaps):
        if batch is None and request is None:
            batches = self._of(self._batches, thread)
            batch = batches[-1][1] if batches else None
        pending = self._of(self._pending, thread)
        if probe.batch_next:
            if len(pending) < _MOST_PENDING:
                pending.append((name, start, end, thread, request, pairs, overlaps))
            return
        if batch is not None:
            for earlier, begun, ended, where, owner, more, over in pending:
                self._put(earlier, begun, ended, where, owner, batch, more, over)
            pending.clear()
        self._put(name, start, end, thread, request, batch, pairs, overlaps)

    def _put(self, name, start, end, thread, *rest):
        self._write(name, start, end, (thread, self.names.get(thread, "")), *rest)

    @staticmethod
    def _of(lists, thread):
        """The list of a thread."""
        found = lists.get(thread)
        if found is None:
            if len(lists) >= _MOST_THREADS:
                lists.clear()
            found = lists[thread] = []
        return found


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
