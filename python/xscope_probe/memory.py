"""What holds the device's memory at chosen moments of a process that runs JAX.

Writes what sglang-jax's own memory profiler would, which its server never calls:
`memory_report_device_<stage>.json` and `device_<stage>.prof` (pprof), into the run and into
SGL_MEMORY_OUTPUT_DIR. Never imports JAX and never starts a backend: a process without one has no
device memory to tell of.
"""

import json
import math
import os
import sys
import threading
import time

_MOST_SNAPSHOTS = 64
_MOST_TENSORS = 256
_POLL_SECONDS = 0.5
_MB = 1 << 20


class Memory:
    """The snapshots of one process; a later one of the same stage replaces the earlier."""

    def __init__(self, directory, request=None, environ=os.environ):
        self._enabled = environ.get("ENABLE_MEMORY_PROFILING", "1") not in ("0", "false", "")
        self._reports = environ.get("DISABLE_MEMORY_REPORTS", "0") in ("0", "false", "")
        self._profiles = environ.get("DISABLE_PROF_GENERATION", "0") in ("0", "false", "")
        wanted = [directory, environ.get("SGL_MEMORY_OUTPUT_DIR")]
        self._directories = [os.path.abspath(path) for path in wanted if path]
        # Touching this file asks for a snapshot.
        self._request = request
        self._left = _MOST_SNAPSHOTS
        self._largest = {}
        self._watched = False
        self._lock = threading.Lock()

    def is_larger(self, stage, size):
        """Whether no call of this stage was as large before."""
        if not isinstance(size, (int, float)) or size <= self._largest.get(stage, 0):
            return False
        self._largest[stage] = size
        return True

    def snapshot(self, stage):
        """Writes one; False if there was nothing to write or no more is allowed."""
        jax = sys.modules.get("jax")
        if not self._enabled or self._left <= 0 or not _has_backend(jax):
            return False
        with self._lock:
            self._left -= 1
            report = {**_report(jax, stage), "pid": os.getpid()}
            for directory in self._directories:
                os.makedirs(directory, exist_ok=True)
                self._write(jax, directory, stage, report)
        return True

    def _write(self, jax, directory, stage, report):
        # Another process of the same server has snapshots of its own.
        owner = os.path.join(directory, f".{stage}.pid")
        try:
            with open(owner, "x", encoding="ascii") as file:
                file.write(str(os.getpid()))
            suffix = ""
        except FileExistsError:
            with open(owner, encoding="ascii") as file:
                suffix = "" if file.read() == str(os.getpid()) else f"_{os.getpid()}"
        if self._reports:
            _write_json(os.path.join(directory, f"memory_report_device_{stage}{suffix}.json"), report)
            _write_json(os.path.join(directory, "memory_summary.json"), _summary(directory))
        if self._profiles:
            path = os.path.join(directory, f"device_{stage}{suffix}.prof")
            jax.profiler.save_device_memory_profile(path + ".tmp")
            os.replace(path + ".tmp", path)

    def watch(self, failed):
        """Waits, on a thread of its own, for somebody to ask for a snapshot."""
        if self._watched or self._request is None or not self._enabled:
            return
        self._watched = True
        arguments = (_modified(self._request), failed)
        threading.Thread(
            target=self._watch, args=arguments, name="xscope-memory", daemon=True
        ).start()

    def _watch(self, seen, failed):
        while self._left > 0:
            time.sleep(_POLL_SECONDS)
            try:
                at = _modified(self._request)
                if at != seen:
                    seen = at
                    self.snapshot("on_demand")
            except Exception as error:
                failed("memory", error)
                return


def _modified(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _has_backend(jax):
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)
    return jax is not None and started is not None and started()


def _report(jax, stage):
    """Arrays alive, grouped by form, and what each device says of itself; null on CPUs."""
    sizes = {}
    for array in jax.live_arrays():
        try:
            shape, dtype = array.sharding.shard_shape(array.shape), array.dtype
            size = math.prod(shape) * dtype.itemsize * len(array.sharding.addressable_devices)
        except RuntimeError:
            continue  # it was deleted meanwhile
        total, count = sizes.get((str(dtype), tuple(array.shape)), (0, 0))
        sizes[str(dtype), tuple(array.shape)] = (total + size, count + 1)
    ordered = sorted(sizes.items(), key=lambda entry: (-entry[1][0], entry[0]))
    tensors = {
        f"{dtype}{list(shape)} x{count}": _tensor(size, shape, dtype)
        for (dtype, shape), (size, count) in ordered[:_MOST_TENSORS]
    }
    rest = sum(size for _, (size, _) in ordered[_MOST_TENSORS:])
    if rest:
        tensors["(smaller ones)"] = _tensor(rest, (), "")
    stats = {str(device): device.memory_stats() for device in jax.local_devices()}
    peaks = [known["peak_bytes_in_use"] for known in stats.values() if known and "peak_bytes_in_use" in known]
    largest = next(iter(tensors), None)
    return {
        "report_type": "device",
        "layer_id": None,
        "stage": stage,
        "total_memory_mb": sum(tensor["memory_mb"] for tensor in tensors.values()),
        "largest_tensor": largest,
        "largest_memory_mb": tensors[largest]["memory_mb"] if largest else 0.0,
        "tensors": tensors,
        **({"peak_memory_mb": max(peaks) / _MB} if peaks else {}),
        "memory_stats": stats,
        "at_nanos": time.monotonic_ns(),
    }


def _summary(directory):
    """All reports of a directory together, in the form of sglang-jax's own."""
    stages, types, layers, count = {}, {}, {}, 0
    for name in sorted(os.listdir(directory)):
        if not (name.startswith("memory_report_") and name.endswith(".json")):
            continue
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                report = json.load(file)
            stage, layer, size = report["stage"], report.get("layer_id"), report["total_memory_mb"]
            kind = report["report_type"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of these reports
        count += 1
        stages[stage] = max(size, stages.get(stage, 0))
        types.setdefault(kind, []).append({"stage": stage, "memory_mb": size, "layer_id": layer})
        if layer is not None:
            layers.setdefault(str(layer), {})[stage] = size
    return {
        "total_reports": count,
        "peak_memory_by_stage": stages,
        "memory_breakdown_by_type": types,
        "layer_analysis": layers,
    }


def _write_json(path, document):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(path + ".tmp", path)


def _tensor(size, shape, dtype):
    return {"memory_mb": size / _MB, "shape": list(shape), "dtype": dtype}
