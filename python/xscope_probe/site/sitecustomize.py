"""Starts xscope's probes in a Python process that `xscope run` started, or in a child of one.

The folder of this file is the first on PYTHONPATH. A `sitecustomize` that the user has elsewhere
runs afterwards, as if this one were not there.
"""


def _start_probes():
    import sys

    keep = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        import xscope_probe

        xscope_probe.start()
    except Exception as error:
        try:
            sys.stderr.write(f"xscope: no probes in this process: {error!r}\n")
        except Exception:
            pass
    finally:
        sys.dont_write_bytecode = keep


def _run_next():
    import importlib.machinery
    import importlib.util
    import os
    import sys

    mine = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry or ".") != mine]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_start_probes()
_run_next()
