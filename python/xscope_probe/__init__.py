"""xscope's probes: records what a server's functions do, from inside its processes.

Standard library only, Python 3.10 or newer. `start` is called by `site/sitecustomize.py`. Nothing
in here raises into the server, and a server that is killed loses at most the record that was
being written.
"""

import atexit
import copy
import itertools
import json
import os
import sys
import time

from .cost import cost_of_recording
from .hook import Finder
from .memory import Memory
from .place import here
from .recorder import Recorder
from .ring import Ring
from .spool import Spool
from .wrap import CallableAttribute, Probe, wrap, wrap_callable

_MOST_ERRORS = 100

_runtime = None


def start(environ=os.environ):
    """Reads the tables and waits for their modules. Does nothing outside `xscope run`."""
    global _runtime
    path = environ.get("XSCOPE_PROBE_TABLES")
    if not path or _runtime is not None:
        return
    with open(path, encoding="utf-8") as file:
        tables = json.load(file)["tables"]
    runtime = Runtime(
        environ["XSCOPE_PROBE_SPANS"],
        _control(environ.get("XSCOPE_PROBE_CONTROL")),
        max_bytes=int(environ.get("XSCOPE_PROBE_MAX_BYTES", 64 << 20)),
        fault=environ.get("XSCOPE_PROBE_FAULT"),
        memory=environ.get("XSCOPE_PROBE_MEMORY"),
        ring=environ.get("XSCOPE_PROBE_RING"),
        request=os.path.join(os.path.dirname(path), "snapshot"),
    )
    runtime.add(tables)
    _runtime = runtime


def _control(path):
    """A byte that says whether to record; another process may change it at any time."""
    if not path:
        return b"\1"
    import mmap

    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)


class InjectedFault(Exception):
    """For tests: raised where XSCOPE_PROBE_FAULT asks for it."""


class Runtime:
    """The probes of one process."""

    def __init__(
        self, directory, control, max_bytes=64 << 20, fault=None, memory=None, request=None, ring=None
    ):
        self.control = control
        self._ring = ring
        # Whether notes are numbered.
        self.counts = ring is not None
        # Wrappers hold on to it.
        self.recorder = Recorder(self._open, self.failed)
        self._memory_at = (memory, request)
        self._directory, self._max_bytes = directory, max_bytes
        # For tests, and looked at by whoever calls `fault`.
        self.faulty, self._fault = fault is not None, fault
        self._cost = None
        self._rows = {}
        self._installed, self._missing = [], []
        self._fresh()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self._at_exit)

    def _fresh(self):
        self._off = False
        self._errors, self._first_error = 0, None
        self._memory = Memory(*self._memory_at) if self._memory_at[0] else None
        self._requests = itertools.count(os.getpid() << 32)

    def _after_fork(self):
        """A child writes a file of its own."""
        try:
            self._fresh()
            self.recorder.let_go()
            self._know_again()  # the thread has got another id
        except Exception:
            self._off = True

    def _know_again(self):
        """Makes the place of the running code one that the recorder knows."""
        if here() is not None:
            self.recorder.know(here())

    def add(self, tables):
        for table in tables:
            for row in table["probes"]:
                self._rows.setdefault(row["module"], []).append({**row, "table": table["name"]})
        sys.meta_path.insert(0, Finder(self._rows, self.patch))
        for name in list(self._rows):
            module = sys.modules.get(name)
            if module is not None:
                self.patch(name, module)

    # Installing.

    def patch(self, name, module):
        """Wraps what a module has to be wrapped; what it lacks is noted."""
        try:
            for row in self._rows.get(name, ()):
                self._patch_row(module, row)
            if self._cost is None:
                self._cost = self._measure_cost()
            self._write_note()
        except Exception as error:
            self.failed(name, error)

    def _patch_row(self, module, row):
        label = {"table": row["table"], "module": row["module"], "name": row["name"]}
        try:
            self.fault("patch", f"{row['module']}:{row['name']}")
            if module is None:
                raise ImportError("the module's loader cannot be hooked")
            self._wrap_name(module, row)
            self._installed.append(label)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._missing.append({**label, "optional": row.get("optional", False), "why": why})

    def _wrap_name(self, module, row):
        owner, (*outer, last) = module, row["name"].split(".")
        for part in outer:
            owner = getattr(owner, part)
        original = getattr(owner, last)
        raw = vars(owner).get(last, original) if isinstance(owner, type) else original
        function = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        if not callable(function):
            raise TypeError(f"{row['name']} cannot be called")
        wrapped = wrap(function, Probe(self, row))
        if isinstance(raw, (staticmethod, classmethod)):
            wrapped = type(raw)(wrapped)
        setattr(owner, last, wrapped)

    def wrap_attributes(self, owner, after, label):
        """Wraps callables that a method put on its object."""
        for attribute, span in after.items():
            function = getattr(owner, attribute, None)
            if function is None or isinstance(function, CallableAttribute):
                continue
            row = {"module": label, "name": attribute, "span": span, "batch": "around"}
            setattr(owner, attribute, wrap_callable(function, Probe(self, row)))

    # Recording.

    def new_request(self):
        return next(self._requests)

    def _measure_cost(self):
        """Records into a file that nobody sees; what cannot be measured is not known."""
        scratch = copy.copy(self)
        scratch.faulty, scratch._fault, scratch._off = False, None, False
        try:
            spool = Spool(self._directory)
        except OSError:
            return ()
        os.unlink(spool.path)
        scratch.recorder = Recorder(lambda: spool, scratch.failed)
        try:
            return cost_of_recording(scratch)
        finally:
            spool.close()
            self._know_again()

    def _open(self):
        """Where notes go; None if nothing is recorded any more."""
        if self._off:
            return None
        self.fault("open", "")
        try:
            if self._ring:
                return Ring(self._ring, self._max_bytes, self.recorder.count, self._cost)
            return Spool(self._directory, self._max_bytes, cost=self._cost)
        except OSError:
            self._off = True
            raise

    def remember_memory(self, stage, size=None):
        """A snapshot of the device's memory; with a size, only if it is the largest so far."""
        if self.faulty:
            self.fault("memory", stage)
        memory = self._memory
        if memory is None or self._off or (size is not None and not memory.is_larger(stage, size)):
            return
        start = time.monotonic_ns()
        memory.watch(self.failed)
        if memory.snapshot(stage):
            self.recorder.put("xscope.memory", start, time.monotonic_ns(), stage)

    # Failing.

    def fault(self, point, label):
        wanted, _, where = (self._fault or "@").partition("@")
        if wanted in (point, "any") and where in label:
            raise InjectedFault(f"{point} {label}")

    def failed(self, label, error):
        """Counts an error of a probe; too many switch all of them off."""
        try:
            self._errors += 1
            if self._first_error is None:
                self._first_error = f"{label}: {type(error).__name__}: {error}"
            if self._errors >= _MOST_ERRORS:
                self._off = True
                self.recorder.stop()
            if self._errors in (1, _MOST_ERRORS):
                self._write_note()
        except Exception:
            self._off = True

    def _write_note(self):
        """What this process has probes on, and what went wrong: `<pid>.probes.json`."""
        note = {
            "schema": "xscope/probes/1",
            "pid": os.getpid(),
            "parent": os.getppid(),
            "argv": list(getattr(sys, "orig_argv", None) or getattr(sys, "argv", []))[:64],
            "python": sys.version.split()[0],
            "at_ns": time.monotonic_ns(),
            "installed": self._installed,
            "missing": self._missing,
            "errors": self._errors,
            "first_error": self._first_error,
            "off": self._off,
        }
        path = os.path.join(self._directory, f"{os.getpid()}.probes.json")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(path + ".tmp", path)

    def _at_exit(self):
        try:
            if self._installed or self._errors:
                self._write_note()
            self._off = True
            self.recorder.close()
        except Exception:
            pass
