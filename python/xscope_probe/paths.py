"""Reads values off a call, as a table's paths say.

    path    = root step* ("|" function)*
    root    = a parameter's name | "return"
    step    = ".attribute" | "[]" (each element) | "[3]" | "['key']" | "()"
    function = "len" | "lens" (of each element) | "sum" | "list" | "text" | "header:<name>" (of ASGI)

A path that does not fit the objects gives no value, and no error: servers differ by version.

Paths become Python, one function for all those of a probe: see `recorder` for what a call costs.
What they find holds on to nothing of the server's.
"""

import enum
import re

_ROOT = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|(\[\])|\[(-?\d+)\]|\['([^']*)'\]|(\(\))")


_PLAIN = frozenset([int, float, str, bool, type(None)])


class PathError(ValueError):
    """A table has a path that cannot be read."""


def compile_path(texts, parameters):
    """A function of (args, kwargs, result): the value of the first path that has one, or None."""
    return _compile([texts], "v0", parameters)


def compile_paths(rows, parameters):
    """As `compile_path` for each row, in one tuple; a row that is None has no value."""
    return _compile(rows, "".join(f"v{number}, " for number in range(len(rows))), parameters)


def _compile(rows, returned, parameters):
    lines = ["def values(args, kwargs, result):"]
    for number, texts in enumerate(rows):
        value = f"v{number}"
        lines.append(f"    {value} = None")
        for text in [texts] if isinstance(texts, str) else texts or ():
            lines += [
                f"    if {value} is None or {value}.__class__ is list and not {value}:",
                f"        try: {value} = {_expression(text, parameters)}",
                f"        except Exception: {value} = None",
                f"        if {value}.__class__ not in plain: {value} = keep({value})",
            ]
    lines.append(f"    return {returned or '()'}")
    space = {"header": _header, "plain": _PLAIN, "keep": _keep}
    exec(compile("\n".join(lines), "<xscope paths>", "exec"), space)
    return space["values"]


def _keep(value):
    """A value that stays as it is while the server goes on."""
    if not isinstance(value, (list, tuple)):
        return scalar(value)
    return [one if one.__class__ in _PLAIN else scalar(one) for one in value]


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


def _expression(text, parameters):
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
    code = _walk(_root(root, parameters), steps)
    for name in functions:
        code = _function(name, code, text)
    return code


def _root(root, parameters):
    if root == "return":
        return "result"
    if root not in parameters:
        return f"kwargs[{root!r}]"
    position = parameters.index(root)
    return f"(args[{position}] if len(args) > {position} else kwargs[{root!r}])"


def _walk(code, steps):
    for number, step in enumerate(steps):
        attribute, each, index, key, call = step.groups()
        if attribute is not None:
            code += f".{attribute}"
        elif index is not None:
            code += f"[{index}]"
        elif call is not None:
            code += "()"
        elif each is None:
            code += f"[{key!r}]"
        else:
            return _each(code, steps[number + 1 :])
    return code


def _each(code, steps):
    """A list of what the steps find in each element; flat, however many `[]` there are."""
    rest = _walk("each", steps)
    if any(step.group(2) for step in steps):
        return f"[one for each in {code} or () for one in {rest}]"
    return f"[{rest} for each in {code} or ()]"


def _function(name, code, text):
    if name.startswith("header:"):
        return f"header({code}, {name[len('header:') :].strip().lower().encode()!r})"
    known = {
        "len": f"len({code})",
        "lens": f"[len(each) for each in {code}]",
        "sum": f"sum({code})",
        "text": f"str({code})[:400]",
        "list": f"list({code})",
    }
    if name not in known:
        raise PathError(f"{text!r} has the unknown function {name!r}")
    return known[name]


def _header(pairs, wanted):
    return next(value for key, value in pairs if key.lower() == wanted).decode()
