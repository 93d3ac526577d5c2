"""Reads values off a call, as a table's paths say.

    path    = root step* ("|" function)*
    root    = a parameter's name | "return"
    step    = ".attribute" | "[]" (each element) | "[3]" | "['key']" | "()"
    function = "len" | "lens" (of each element) | "sum" | "list" | "text" | "header:<name>" (of ASGI)

A path that does not fit the objects gives no value, and no error: servers differ by version.

Paths become lines of Python, for the function that `wrap` makes of a probe. What they find holds on to
nothing of the server's.
"""

import enum
import re

_ROOT = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|(\[\])|\[(-?\d+)\]|\['([^']*)'\]|(\(\))")

_PLAIN = frozenset([int, float, str, bool, type(None)])


# What paths find that end so is made by their lines.
_KEPT = re.compile(r"\|\s*(len|lens|text|header:.*)\s*$|\[\][^|]*$")


class PathError(ValueError):
    """A table has a path that cannot be read."""


def lookup(value, texts, root):
    """Lines that set the variable `value` to what the first path finds that finds something, or None.

    `root` is a function from a parameter's name to its expression; the lines need `names()`.
    """
    lines = []
    for number, text in enumerate([texts] if isinstance(texts, str) else texts):
        found = [f"try: {value} = {_expression(text, root)}", f"except Exception: {value} = None"]
        if not _KEPT.search(text):
            found.append(f"if {value}.__class__ not in xs_plain: {value} = xs_keep({value})")
        if number > 0:
            lines.append(f"if {value} is None or {value}.__class__ is list and not {value}:")
            found = ["    " + line for line in found]
        lines += found
    return lines


def names():
    """What the lines of `lookup` call things."""
    return {"xs_header": _header, "xs_plain": _PLAIN, "xs_keep": _keep, "xs_scalar": _scalar}


def _keep(value):
    """A value that stays as it is while the server goes on."""
    if not isinstance(value, (list, tuple)):
        return _scalar(value)
    return [one if one.__class__ in _PLAIN else _scalar(one) for one in value]


def _scalar(value):
    """What can be recorded of a value: an int, a float, a str; None if nothing can."""
    if isinstance(value, enum.Enum):
        return value.name
    for kind in (str, float, int):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    index = getattr(type(value), "__index__", None)
    if index is not None:
        try:
            return value.__index__()
        except TypeError:
            return None
    return None


def _expression(text, root_of):
    path, *functions = [part.strip() for part in text.split("|")]
    match = _ROOT.match(path)
    if match is None:
        raise PathError(f"{text!r} begins with no name")
    root, steps, at = match.group(), [], match.end()
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise PathError(f"cannot read {path[at:]!r} of {text!r}")
        steps.append(step)
        at = step.end()
    code = _walk("xs_result" if root == "return" else root_of(root), steps, not functions)
    for name in functions:
        code = _function(name, code, text)
    return code


def _walk(code, steps, values):
    """The expression for what steps find; `values`: nothing comes after it, and it has to stay as it is."""
    clauses = []
    for step in steps:
        attribute, each, index, key, call = step.groups()
        if attribute is not None:
            code += f".{attribute}"
        elif index is not None:
            # A comprehension must not name what it goes over.
            inside = any(step.group(2) for step in steps)
            code = f"{code}[{index}]" if inside else _unless_none(code, f"xs_found[{index}]")
        elif call is not None:
            code += "()"
        elif each is None:
            code += f"[{key!r}]"
        else:
            clauses.append(f"for xs_{len(clauses)} in {code} or ()")
            code = f"xs_{len(clauses) - 1}"
    if not clauses:
        return code
    if values:
        code = f"xs_found if (xs_found := {code}).__class__ in xs_plain else xs_scalar(xs_found)"
    return f"[{code} {' '.join(clauses)}]"


def _unless_none(code, then):
    """Nothing where there is nothing: an error, with caches cold, costs more than all else."""
    return f"({then} if (xs_found := {code}) is not None else None)"


def _function(name, code, text):
    if name.startswith("header:"):
        return f"xs_header({code}, {name[len('header:') :].strip().lower().encode()!r})"
    known = {
        "len": f"len({code})",
        "lens": f"list(map(len, {code}))",
        "sum": f"sum({code})",
        "text": _unless_none(code, "str(xs_found)[:400]"),
        "list": f"list({code})",
    }
    if name not in known:
        raise PathError(f"{text!r} has the unknown function {name!r}")
    return known[name]


def _header(pairs, wanted):
    return next(value for key, value in pairs if key.lower() == wanted).decode()
