"""The `.xspan` file of this process, version 1: see docs/xspan.md.

Records go into memory-mapped segments of a file, so that what was written survives the death of
the process. A segment is allocated on disk before it is mapped: a full disk is an error here and
no SIGBUS in the server.
"""

import mmap
import os
import struct
import threading
import time

_MAGIC = b"XSPAN\0\0\1"
_RECORD = 64
_HEADER = struct.Struct("<8sIIqqQQqQ")
_DROPPED_AT = 32
_STATE_AT = 56
_FIELDS = struct.Struct("<BBHIIIqqqqqq")
_TEXT = struct.Struct("<BBHII52s")
_DOUBLE = struct.Struct("<d")
_BITS = struct.Struct("<q")
_U64 = struct.Struct("<Q")

_STRING, _SPAN, _COUNTER, _THREAD, _EXTRA = 1, 2, 3, 4, 5

# What recording costs here, as counters.
_COSTS = ("xscope.span_nanos", "xscope.record_nanos")

# The form of a value that is 64 bits: absent, integer, text, double.
_ABSENT, _INT, _STR, _FLOAT = 0, 1, 2, 3

OVERLAPS = 64

_MOST_TEXT = 4096
_MOST_IDS = 8192
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 63) - 1

now = time.monotonic_ns


def _wall_offset():
    """Wall time minus monotonic time, and the error of that, in nanoseconds."""
    best = None
    for _ in range(8):
        before, wall, after = now(), time.time_ns(), now()
        half = (after - before) // 2
        if best is None or half + 1 < best[1]:
            best = (wall - before - half, half + 1)
    return best


def _allocate(fd, offset, length):
    try:
        os.posix_fallocate(fd, offset, length)
    except AttributeError:  # not on macOS
        os.ftruncate(fd, offset + length)


class Spool:
    """One file, written by the threads of one process."""

    def __init__(self, directory, max_bytes=64 << 20, segment_bytes=128 << 10, dropped=0, cost=None):
        self._segment = segment_bytes
        self._segments = max(1, max_bytes // segment_bytes)
        # Reentrant: a signal handler or a finalizer may record while its thread is in here.
        self._lock = threading.RLock()
        self._maps = []
        self._next = 0
        self._last_id = 0
        self._names = {}
        self._texts = {}
        self._dropped = dropped
        self._full = False
        self._threads = set()
        self.path, self._fd = self._create(directory)
        if not self._grow():
            raise OSError(f"no space for {self.path}")
        offset, error = _wall_offset()
        capacity = (self._segments * segment_bytes - _RECORD) // _RECORD
        header = (_MAGIC, _RECORD, os.getpid(), offset, error, dropped, capacity, now(), 0)
        _HEADER.pack_into(self._maps[0], 0, *header)
        for name, nanos in zip(_COSTS, cost or ()):
            self._counter(name, nanos)

    @staticmethod
    def _create(directory):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        for number in range(1, 10000):
            name = f"{os.getpid()}.xspan" if number == 1 else f"{os.getpid()}-{number}.xspan"
            path = os.path.join(directory, name)
            try:
                return path, os.open(path, flags, 0o644)
            except FileExistsError:
                continue
        raise FileExistsError(directory)

    def _grow(self):
        """One more segment; False if the file is full, the disk is, or the file is closed."""
        if self._full or len(self._maps) >= self._segments:
            self._full = True
            return False
        offset = len(self._maps) * self._segment
        try:
            _allocate(self._fd, offset, self._segment)
            self._maps.append(mmap.mmap(self._fd, self._segment, offset=offset))
        except (OSError, ValueError):
            self._full = True
            return False
        return True

    def _append(self, layout, kind, *fields):
        """Writes a record, its kind last; its index, or None if there is no room."""
        with self._lock:
            index = self._next
            segment, at = divmod(_RECORD + index * _RECORD, self._segment)
            if segment >= len(self._maps) and not self._grow():
                self._drop()
                return None
            self._next = index + 1
            target = self._maps[segment]
            layout.pack_into(target, at, 0, *fields)
            target[at] = kind
            return index

    @property
    def used(self):
        """Bytes of the file that hold something."""
        return _RECORD + self._next * _RECORD

    def _drop(self):
        self._dropped += 1
        if self._maps:
            _U64.pack_into(self._maps[0], _DROPPED_AT, self._dropped)

    def name(self, text):
        """The id of a text that comes again and again."""
        known = self._names.get(text)
        return known if known is not None else self._define(text, self._names)

    def _text(self, text):
        """A new id for a text that soon comes no more, such as that of a request."""
        if len(self._texts) >= _MOST_IDS:
            self._texts.clear()
        return self._define(text, self._texts)

    def _define(self, text, ids):
        raw = text.encode("utf-8", "replace")
        if len(raw) > _MOST_TEXT:
            raw = raw[:_MOST_TEXT].decode("utf-8", "ignore").encode()
        with self._lock:
            known = ids.get(text)
            if known is not None:
                return known
            self._last_id += 1
            number = self._last_id
            for part in range(max(1, -(-len(raw) // 52))):
                piece = raw[52 * part : 52 * part + 52]
                if self._append(_TEXT, _STRING, 0, part, number, len(raw), piece) is None:
                    return number
            ids[text] = number
            return number

    def _value(self, value):
        """A value's form and its 64 bits."""
        if value is None:
            return _ABSENT, 0
        if isinstance(value, str):
            return _STR, self._names.get(value) or self._texts.get(value) or self._text(value)
        if isinstance(value, float):
            return _FLOAT, _BITS.unpack(_DOUBLE.pack(value))[0]
        return _INT, min(max(int(value), _MIN_INT), _MAX_INT)

    def _thread(self, thread):
        number, name = thread
        number &= 0x7FFFFFFF
        if name and number not in self._threads:
            self._threads.add(number)
            self._append(_FIELDS, _THREAD, 0, 0, self.name(name), number, 0, 0, 0, 0, 0, 0, 0)
        return number

    def span(self, name, start, end, thread, request=None, batch=None, pairs=(), overlaps=False):
        """A stretch of work of a thread, which is an id and, if it is known, a name.

        `pairs` are of a key and an int, a float, a str, None for no value, or a list of these.
        """
        request_form, request_bits = self._value(request)
        batch_form, batch_bits = self._value(batch)
        flags = request_form | batch_form << 2 | (OVERLAPS if overlaps else 0)
        args = []
        for key, found in pairs:
            for value in found if isinstance(found, list) else (found,):
                form, bits = self._value(value)
                if form != _ABSENT:
                    args.append((self.name(key), form << 4, bits))
        key, form, bits = args[0] if args else (0, 0, 0)
        record = self._append(
            _FIELDS, _SPAN, flags | form, 0, self.name(name), self._thread(thread), key,
            start, max(0, end - start), request_bits, batch_bits, bits, 0,
        )  # fmt: skip
        if record is None:
            return
        for key, form, bits in args[1:]:
            self._append(_FIELDS, _EXTRA, form, 0, 0, 0, key, record, 0, 0, 0, bits, 0)

    def _counter(self, name, value):
        """A sample of a whole number."""
        name = self.name(name)
        self._append(_FIELDS, _COUNTER, _INT << 4, 0, name, 0, 0, now(), 0, 0, 0, value, 0)

    def close(self):
        """Ends the file: the state says so, and what was never used is cut off."""
        with self._lock:
            if not self._maps:
                return
            _U64.pack_into(self._maps[0], _STATE_AT, 1)
            self._maps.clear()
            self._full = True
            os.ftruncate(self._fd, self.used)
            os.close(self._fd)

    def forget(self):
        """Lets go of a parent's file in a forked child, without a change to it."""
        self._maps.clear()
        os.close(self._fd)

