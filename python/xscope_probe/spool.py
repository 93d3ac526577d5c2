"""The file of notes of this process: an `.xspan` file of version 2, see docs/xspan.md.

Notes are written into memory-mapped segments of a file, so that what was written survives the death of the
process. A segment is allocated on disk before it is mapped: a full disk is an error here and no
SIGBUS in the server.
"""

import marshal
import mmap
import os
import struct
import time

# The format of `marshal` in which all Pythons write text and numbers in one way.
FORMAT = 2

_MAGIC = b"XSPAN\0\0\2"
_HEADER = struct.Struct("<8sIIqqQQqQ")
_DROPPED_AT = 32
_STATE_AT = 56
_U64 = struct.Struct("<Q")
_SEGMENT = 128 << 10

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

    def __init__(self, directory, max_bytes=64 << 20, gone=0, cost=None):
        self._segment, self._most = _SEGMENT, max(_SEGMENT, max_bytes)
        # The segments, and where in the file the last of them begins.
        self._maps, self._begin, self._dropped = [], 0, gone
        self.path, self._fd = self._create(directory)
        self._grow(_HEADER.size)
        offset, error = _wall_offset()
        header = (_MAGIC, self._segment, os.getpid(), offset, error, gone, self._most, now(), 0)
        self._maps[0].write(_HEADER.pack(*header))
        self._is_new = True
        self._cost = marshal.dumps(("cost", *(cost or (None, None))), FORMAT)

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

    def _grow(self, least):
        """One more segment, or as many as `least` bytes need; False if the file or the disk is full."""
        begin = self._end()
        length = -(-least // self._segment) * self._segment
        if self._fd is None or begin + length > self._most:
            return False
        try:
            _allocate(self._fd, begin, length)
            self._maps.append(mmap.mmap(self._fd, length, offset=begin))
        except (OSError, ValueError):
            if not self._maps:
                raise
            return False
        self._begin = begin
        return True

    def _end(self):
        """How many bytes the file has."""
        return self._begin + len(self._maps[-1]) if self._maps else 0

    def room_for(self, note, first):
        """Writes a note, in a new file behind what `first()` gives; returns what writes further ones.

        What finds no room counts as dropped.
        """
        for value in (self._cost, *first(), note) if self._is_new else (note,):
            self._write(value)
        self._is_new = False
        return self._maps[-1].write if self._maps else len

    def _write(self, note):
        if self._maps:
            try:
                self._maps[-1].write(note)
                return
            except ValueError:
                pass
            if self._grow(len(note)):
                self._maps[-1].write(note)
                return
            self._dropped += 1
            _U64.pack_into(self._maps[0], _DROPPED_AT, self._dropped)

    def is_full(self):
        """Whether the next segment would be one too many."""
        return self._end() + self._segment > self._most

    def close(self):
        """Ends the file: the state says so, and what was never used is cut off."""
        if self._fd is None:
            return
        used = self._begin + self._maps[-1].tell()
        _U64.pack_into(self._maps[0], _STATE_AT, 1)
        self.forget(used)

    def forget(self, used=None):
        """Lets go of the file, cut to what is used of it; in a forked child, without a change to it."""
        # Who still writes gets a `ValueError`; behind the end of a file it would be killed.
        for segment in self._maps:
            segment.close()
        self._maps.clear()
        if used is not None:
            os.ftruncate(self._fd, used)
        os.close(self._fd)
        self._fd = None
