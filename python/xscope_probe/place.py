"""Where code runs: on which thread, for which HTTP request."""

import contextvars
import threading

# In a new thread there is none, and what is copied into another thread says so by its `ident`.
_PLACE = contextvars.ContextVar("xscope_place", default=None)

here = _PLACE.get

_MOST_RIDS = 4096


class Request:
    """An HTTP request under way: its key, what its items are called, moments to remember."""

    __slots__ = ("key", "rids", "marks")

    def __init__(self, key):
        self.key = key
        self.rids = []
        self.marks = {}

    def link(self, found):
        """Takes what its items are called."""
        found = found if isinstance(found, (list, tuple)) else (found,)
        self.rids += [rid for rid in found if isinstance(rid, str)]
        del self.rids[_MOST_RIDS:]


class Place:
    """A thread, as Python (`ident`) and as spans know it, and a request with its key."""

    __slots__ = ("ident", "thread", "request", "key", "_before")

    def __init__(self, thread, request, before=None):
        self.ident = threading.get_ident()
        self.thread, self.request, self._before = thread, request, before
        self.key = None if request is None else request.key
        _PLACE.set(self)

    def close(self):
        """Ends the request of the place."""
        place = here()
        # A generator may end where it did not begin.
        if place is not None and place.request is self.request:
            _PLACE.set(self._before)


def open_request(recorder, key):
    return Place(recorder.thread(), Request(key), here())
