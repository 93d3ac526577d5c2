"""Where code runs: on which thread, for which HTTP request."""

import contextvars
import threading

# In a new thread there is none, and what is copied into another thread says so by its `ident`.
_PLACE = contextvars.ContextVar("xscope_place", default=None)

here = _PLACE.get


class Request:
    """An HTTP request under way: its key, what its items are called, moments to remember."""

    __slots__ = ("key", "rids", "marks")

    def __init__(self, key):
        self.key = key
        self.rids = []
        self.marks = {}


class Place:
    """A thread, as Python (`ident`) and as spans (id and name) know it, and a request."""

    __slots__ = ("ident", "thread", "request", "_before")

    def __init__(self, thread, request, before=None):
        self.ident = threading.get_ident()
        self.thread, self.request, self._before = thread, request, before
        _PLACE.set(self)

    def close(self):
        """Ends the request of the place."""
        place = here()
        # A generator may end where it did not begin.
        if place is not None and place.request is self.request:
            _PLACE.set(self._before)


def open_request(recorder, key):
    return Place(recorder.thread(), Request(key), here())
