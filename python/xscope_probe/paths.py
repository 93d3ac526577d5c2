"""Reads values off a call, as a table's paths say.

    path    = root step* ("|" function)*
    root    = a parameter's name | "return"
    step    = ".attribute" | "[]" (each element) | "[3]" | "['key']" | "()"
    function = "len" | "lens" (of each element) | "sum" | "list" | "text" | "header:<name>" (of ASGI)

A path that does not fit the objects gives no value, and no error: servers differ by version.
"""

import enum
import re

_ROOT = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|(\[\])|\[(-?\d+)\]|\['([^']*)'\]|(\(\))")

MISSING = object()


class PathError(ValueError):
    """A table has a path that cannot be read."""


def compile_paths(texts, parameters):
    """A function of (args, kwargs, result): the value of the first path that has one."""
    if isinstance(texts, str):
        texts = [texts]
    getters = [_compile(text, parameters) for text in texts]
    if len(getters) == 1:
        return getters[0]

    def first(args, kwargs, result):
        for getter in getters:
            value = getter(args, kwargs, result)
            if value is not MISSING and value is not None and value != []:
                return value
        return MISSING

    return first


def scalar(value):
    """What can be recorded of a value: an int, a float, a str; None if nothing can."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    index = getattr(type(value), "__index__", None)
    if index is not None:
        try:
            return value.__index__()
        except TypeError:
            return None
    return None


def _compile(text, parameters):
    path, *functions = [part.strip() for part in text.split("|")]
    match = _ROOT.match(path)
    if match is None:
        raise PathError(f"{text!r} begins with no name")
    root, steps, at = match.group(), [], match.end()
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise PathError(f"cannot read {path[at:]!r} of {text!r}")
        steps.append(_step(step))
        at = step.end()
    functions = [_function(name, text) for name in functions]
    fetch = _fetch(root, parameters)

    def get(args, kwargs, result):
        try:
            value = _walk(fetch(args, kwargs, result), steps, 0)
            for function in functions:
                value = function(value)
            return value
        except Exception:
            return MISSING

    return get


def _fetch(root, parameters):
    if root == "return":
        return lambda args, kwargs, result: result
    position = parameters.index(root) if root in parameters else None

    def fetch(args, kwargs, result):
        if position is not None and position < len(args):
            return args[position]
        return kwargs[root]

    return fetch


def _step(match):
    attribute, each, index, key, call = match.groups()
    if attribute is not None:
        return ("attribute", attribute)
    if each is not None:
        return ("each", None)
    if index is not None:
        return ("item", int(index))
    if call is not None:
        return ("call", None)
    return ("item", key)


def _walk(value, steps, at):
    while at < len(steps):
        kind, what = steps[at]
        at += 1
        if kind == "attribute":
            value = getattr(value, what)
        elif kind == "item":
            value = value[what]
        elif kind == "call":
            value = value()
        else:
            flat = []
            nested = any(step[0] == "each" for step in steps[at:])
            for element in value or ():
                found = _walk(element, steps, at)
                flat.extend(found) if nested else flat.append(found)
            return flat
    return value


def _function(name, text):
    if name.startswith("header:"):
        wanted = name[len("header:") :].strip().lower().encode()
        return lambda pairs: next(value for key, value in pairs if key.lower() == wanted).decode()
    known = {
        "len": len,
        "lens": lambda values: [len(value) for value in values],
        "sum": sum,
        "text": lambda value: str(value)[:400],
        "list": list,
    }
    if name not in known:
        raise PathError(f"{text!r} has the unknown function {name!r}")
    return known[name]
