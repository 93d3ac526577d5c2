"""The `.xspan` file of this process, version 1: see docs/xspan.md.

Records are collected until `commit`, which copies them into memory-mapped segments of a file, so that
what was written survives the death of the process. A segment is allocated on disk before it is mapped:
a full disk is an error here and no SIGBUS in the server.
"""

import mmap
import os
import struct
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

_STRING, _SPAN, _COUNTER, _THREAD, _EXTRA = b"\1", b"\2", b"\3", b"\4", b"\5"

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
    """One file, for one caller at a time."""

    def __init__(self, directory, max_bytes=64 << 20, segment_bytes=128 << 10, dropped=0, cost=None):
        self._segment = segment_bytes
        self._segments = max(1, max_bytes // segment_bytes)
        self._maps = []
        # Records in the file; those that wait for `commit`, and their kinds; how many more there may be.
        self._next, self._block, self._kinds = 0, [], bytearray()
        self._room = (self._segments * segment_bytes - _RECORD) // _RECORD
        self._last_id = 0
        self._names, self._texts, self._threads = {}, {}, {}
        self._dropped = dropped
        self.path, self._fd = self._create(directory)
        if not self._grow():
            raise OSError(f"no space for {self.path}")
        offset, error = _wall_offset()
        header = (_MAGIC, _RECORD, os.getpid(), offset, error, dropped, self._room, now(), 0)
        _HEADER.pack_into(self._maps[0], 0, *header)
        for name, nanos in zip(_COSTS, cost or ()):
            self._counter(name, nanos)
        self.commit()

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
        """One more segment; False if the disk is full, or the file is closed."""
        offset = len(self._maps) * self._segment
        try:
            _allocate(self._fd, offset, self._segment)
            self._maps.append(mmap.mmap(self._fd, self._segment, offset=offset))
        except (OSError, ValueError):
            return False
        return True

    @property
    def used(self):
        """Bytes of the file that hold something."""
        return _RECORD + (self._next + len(self._block)) * _RECORD

    def _has_room(self, records):
        """Whether the file can take these; if not, they count as dropped."""
        if records <= self._room:
            self._room -= records
            return True
        self._dropped += records
        return False

    def _append(self, kind, record):
        self._block.append(record)
        self._kinds += kind

    def commit(self):
        """Puts what was collected into the file: records first, then the kinds that make them valid."""
        data, kinds, done = b"".join(self._block), bytes(self._kinds), 0
        self._block.clear()
        self._kinds.clear()
        while done < len(kinds):
            segment, at = divmod(_RECORD + self._next * _RECORD, self._segment)
            if segment >= len(self._maps) and not self._grow():
                self._room, self._dropped = 0, self._dropped + len(kinds) - done
                break
            count = min(len(kinds) - done, (self._segment - at) // _RECORD)
            target, end = self._maps[segment], at + count * _RECORD
            target[at:end] = data[done * _RECORD : (done + count) * _RECORD]
            target[at:end:_RECORD] = kinds[done : done + count]
            self._next += count
            done += count
        if self._maps:
            _U64.pack_into(self._maps[0], _DROPPED_AT, self._dropped)

    def _name(self, text):
        """The id of a text that comes again and again."""
        return self._names.get(text) or self._define(text, self._names)

    def _text(self, text):
        """The id of a text that soon comes no more, such as that of a request."""
        known = self._names.get(text) or self._texts.get(text)
        if known is not None:
            return known
        if len(self._texts) >= _MOST_IDS:
            self._texts.clear()
        return self._define(text, self._texts)

    def _define(self, text, ids):
        raw = text.encode("utf-8", "replace")
        if len(raw) > _MOST_TEXT:
            raw = raw[:_MOST_TEXT].decode("utf-8", "ignore").encode()
        self._last_id += 1
        number, parts = self._last_id, max(1, -(-len(raw) // 52))
        if self._has_room(parts):
            for part in range(parts):
                piece = raw[52 * part : 52 * part + 52]
                self._append(_STRING, _TEXT.pack(0, 0, part, number, len(raw), piece))
            ids[text] = number
        return number

    def _value(self, value):
        """A value's form and its 64 bits."""
        if value.__class__ is int and _MIN_INT <= value <= _MAX_INT:
            return _INT, value
        if value is None:
            return _ABSENT, 0
        if isinstance(value, str):
            return _STR, self._text(value)
        if isinstance(value, float):
            return _FLOAT, _BITS.unpack(_DOUBLE.pack(value))[0]
        return _INT, min(max(int(value), _MIN_INT), _MAX_INT)

    def _thread(self, thread):
        number, name = thread
        number &= 0x7FFFFFFF
        if name:
            name = self._name(name)
            if self._has_room(1):
                self._append(_THREAD, _FIELDS.pack(0, 0, 0, name, number, 0, 0, 0, 0, 0, 0, 0))
        self._threads[thread] = number
        return number

    def span(self, name, start, end, thread, request=None, batch=None, args=(), overlaps=False):
        """A stretch of work of a thread, which is an id and, if it is known, a name.

        `args` are of a key and an int, a float or a str.
        """
        names, value_of, block, pack = self._names, self._value, self._block, _FIELDS.pack
        request_form, request = value_of(request)
        batch_form, batch = value_of(batch)
        flags = request_form | batch_form << 2 | (OVERLAPS if overlaps else 0)
        name = names.get(name) or self._name(name)
        thread = self._threads.get(thread) or self._thread(thread)
        more = [(names.get(key) or self._name(key), *value_of(value)) for key, value in args]
        if not self._has_room(len(more) or 1):
            return
        record, length = self._next + len(block), end - start if end > start else 0
        key, form, bits = more.pop(0) if more else (0, 0, 0)
        flags |= form << 4
        block.append(pack(0, flags, 0, name, thread, key, start, length, request, batch, bits, 0))
        for key, form, bits in more:
            block.append(pack(0, form << 4, 0, 0, 0, key, record, 0, 0, 0, bits, 0))
        self._kinds += _SPAN + _EXTRA * len(more)

    def _counter(self, name, value):
        """A sample of a whole number."""
        name = self._name(name)
        if self._has_room(1):
            record = _FIELDS.pack(0, _INT << 4, 0, name, 0, 0, now(), 0, 0, 0, value, 0)
            self._append(_COUNTER, record)

    def close(self):
        """Ends the file: the state says so, and what was never used is cut off."""
        if not self._maps:
            return
        self.commit()
        _U64.pack_into(self._maps[0], _STATE_AT, 1)
        self._maps.clear()
        self._room = 0
        os.ftruncate(self._fd, self.used)
        os.close(self._fd)

    def forget(self):
        """Lets go of a parent's file in a forked child, without a change to it."""
        self._maps.clear()
        os.close(self._fd)

