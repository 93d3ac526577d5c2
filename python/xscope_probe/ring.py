"""The newest notes of a process, in files of which the oldest go.

Each file says for itself what its notes mean: what is thrown away takes nothing from the others. Whoever
wants to keep spans copies them out in time.
"""

import os

from .spool import Spool

_FILE_BYTES = 1 << 20


class Ring:
    """As `Spool`, without an end; `count` numbers its notes."""

    def __init__(self, directory, max_bytes, count, cost=None):
        self._directory, self._count, self._cost = directory, count, cost
        self._file_bytes = min(_FILE_BYTES, max(max_bytes // 4, 1 << 17))
        self._most = max(2, max_bytes // self._file_bytes)
        # The files that are left, and how many notes there had been when each began.
        self._paths, self._firsts, self._opened = [], [], 1
        self._base = next(count)
        self._open()

    def _open(self):
        while len(self._paths) >= self._most:
            os.unlink(self._paths.pop(0))
            self._firsts.pop(0)
        # Asking takes a number.
        self._firsts.append(next(self._count) - self._base - self._opened)
        self._opened += 1
        # A file says how much was thrown away before it.
        self._spool = Spool(self._directory, self._file_bytes, self._firsts[0], self._cost)
        self._paths.append(self._spool.path)

    def room_for(self, note, first):
        if self._spool.is_full():
            self._spool.close()
            self._open()
        return self._spool.room_for(note, first)

    def close(self):
        self._spool.close()

    def forget(self):
        self._spool.forget()
