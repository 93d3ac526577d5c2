"""From what a call leaves behind to bytes in a file.

The thread of a call writes one note of it, and no more: between two calls the model runs and takes the
caches, and each further function that the thread had to go through would cost it microseconds. What
notes mean is found out by whoever reads them (docs/xspan.md).
"""

import itertools
import marshal
import threading

from .place import Place
from .spool import FORMAT

_MOST_THREADS = 4096
# The probe of spans that are no call's.
_OWN = 0


class Recorder:
    """Where the notes of a process go: to `write`, which raises `ValueError` if they do not fit."""

    __slots__ = ("write", "count", "_open", "_failed", "_notes", "_lock", "_opening", "_probes", "_threads")

    def __init__(self, open_notes, failed):
        # `open_notes()` gives an object as `Spool`, or None if nothing is recorded any more.
        self._open, self._failed = open_notes, failed
        # What notes say first, as values; both are written once more into each file.
        self._probes = [("probe", _OWN, {"keys": ["stage"], "facts": ["span", "arg"], "overlaps": True})]
        self._threads = {}
        # Of the notes of a ring.
        self.count = itertools.count()
        self.forget()

    def forget(self):
        """As if nothing had been written; for a new process, whose file is not that of its parent."""
        self.write, self._notes = _full, None
        self._threads.clear()
        # Reentrant: a signal handler or a finalizer may record while its thread is in here.
        self._lock, self._opening = threading.RLock(), False

    def define(self, definition):
        """The number of a probe, which its notes begin with."""
        with self._lock:
            value = ("probe", len(self._probes), definition)
            self._probes.append(value)
            self._say(value)
            return value[1]

    def know(self, place):
        """The place of the running code, where `place` is None or of another thread."""
        return Place(self.thread(), None if place is None else place.request)

    def thread(self):
        """The id of the running thread, which is written down with its name when it is new."""
        thread = threading.get_native_id()
        if thread not in self._threads:
            if len(self._threads) >= _MOST_THREADS:
                self._threads.clear()
            self._threads[thread] = _name_of(threading.current_thread())
            self._say(("thread", thread, self._threads[thread]))
        return thread

    def _say(self, value):
        """Writes what further notes need, unless no file is open: each begins with all of that."""
        if self._notes is not None:
            self._put(value)

    def put(self, span, start, end, arg):
        """A span of the running thread that is no call's."""
        self._put((_OWN, start, end, self.thread(), None, span, arg, None))

    def _put(self, value):
        note = marshal.dumps(value, FORMAT)
        try:
            self.write(note)
        except ValueError:
            self.make_room(note)

    def make_room(self, note):
        """Writes a note that did not fit where notes are written now."""
        with self._lock:
            if self._opening:  # by this thread, which was interrupted
                return
            self._opening = True
            try:
                self._make_room(note)
            except Exception as error:
                # The folder or the disk has no room, and will not have at the next call either.
                if isinstance(error, OSError):
                    self.stop()
                self._failed("spool", error)
            finally:
                self._opening = False

    def _make_room(self, note):
        if self._notes is None:
            self._notes = self._open()
            if self._notes is None:
                self.stop()
                return
        else:
            try:  # another thread has made room meanwhile
                self.write(note)
                return
            except ValueError:
                pass
        self.write = self._notes.room_for(note, self._first)

    def _first(self):
        """What each file begins with, as bytes."""
        threads = [("thread", *thread) for thread in list(self._threads.items())]
        return [marshal.dumps(value, FORMAT) for value in (*self._probes, *threads)]

    def stop(self):
        """Nothing is recorded any more."""
        self.write = len

    def close(self):
        with self._lock:
            self.stop()
            notes, self._notes = self._notes, None
            if notes is not None:
                notes.close()

    def let_go(self):
        """Leaves the parent's file alone, in a forked child."""
        notes = self._notes
        self.forget()
        if notes is not None:
            notes.forget()


def _full(note):
    raise ValueError("no file is open")


def error_of(error):
    """What a note says of the class of an exception: its name, in a tuple if the call was broken off."""
    return error.__name__ if issubclass(error, Exception) else (error.__name__,)


def _name_of(thread):
    if thread is not threading.main_thread():
        return thread.name
    try:
        with open("/proc/self/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (main)"
    except OSError:
        return thread.name
