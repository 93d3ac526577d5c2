"""The newest spans of a process, in files of which the oldest go.

Each file is a whole `.xspan` file: what is thrown away takes nothing from the others. Whoever wants
to keep spans copies them out in time.
"""

import os

from .spool import Spool

_FILE_BYTES = 1 << 20
# Of a file: what remains is room for the span that is being written, with all its texts.
_ROTATE_AT = 0.75


class Ring:
    """As `Spool`, without an end."""

    def __init__(self, directory, max_bytes, cost=None):
        self._directory = directory
        self._file_bytes = min(_FILE_BYTES, max(max_bytes // 4, 1 << 17))
        self._most = max(2, max_bytes // self._file_bytes)
        self._cost = cost
        self._paths = []
        # Spans that were thrown away, and those in each file that is left.
        self._gone, self._counts = 0, []
        self._open()

    def _open(self):
        # A file says how much was thrown away before it.
        self._spool = Spool(self._directory, self._file_bytes, dropped=self._gone, cost=self._cost)
        self._paths.append(self._spool.path)
        self._counts.append(0)

    def span(self, *record):
        if self._spool.used > _ROTATE_AT * self._file_bytes:
            self._rotate()
        self._counts[-1] += 1
        self._spool.span(*record)

    def commit(self):
        self._spool.commit()

    def _rotate(self):
        self._spool.close()
        while len(self._paths) >= self._most:
            os.unlink(self._paths.pop(0))
            self._gone += self._counts.pop(0)
        self._open()

    def close(self):
        self._spool.close()

    def forget(self):
        self._spool.forget()
