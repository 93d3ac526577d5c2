"""Patches modules right after they were executed, before anybody can import names from them."""

import sys


class Finder:
    """Stands before all other finders, and only looks for the modules that have probes."""

    def __init__(self, modules, patch):
        self._modules = frozenset(modules)
        self._patch = patch
        self._busy = set()

    def find_spec(self, name, path=None, target=None):
        if name not in self._modules or name in self._busy:
            return None
        self._busy.add(name)
        try:
            spec = self._find(name, path, target)
        finally:
            self._busy.discard(name)
        try:
            self._hook(spec)
        except Exception:
            self._patch(name, None)
        return spec

    def _find(self, name, path, target):
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _hook(self, spec):
        if spec is None or spec.loader is None:
            return
        patch, execute = self._patch, spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module.__name__, module)

        # On the instance, so that the loader stays what it is for whoever asks.
        spec.loader.exec_module = exec_module
