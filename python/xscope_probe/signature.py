"""What a wrapper declares and passes on, so that it takes just what its function takes."""

import inspect
from inspect import Parameter

_POSITIONS = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
# What a wrapper's own lines call, so that no parameter may be called so.
_TAKEN = ("BaseException", "Exception", "len", "list", "map", "str", "sum", "type")


class Signature:
    """The parameters of a wrapper, as source."""

    def __init__(self, declared, passed, first, defaults, root):
        # After `def`, and in the call of the function.
        self.declared, self.passed = declared, passed
        # The expression for the first argument, if the function has one.
        self.first = first
        # What `declared` names.
        self.defaults = defaults
        # A function from a parameter's name to its expression.
        self.root = root


def names_of(function):
    """The names of a function's positions."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind in _POSITIONS]


def anything(names=(), before=""):
    """Any arguments; `names` are those of the positions, `before` declares one that is not passed on."""

    def root(name):
        if name not in names:
            return f"kwargs[{name!r}]"
        position = names.index(name)
        return f"(args[{position}] if len(args) > {position} else kwargs[{name!r}])"

    return Signature(before + "*args, **kwargs", "*args, **kwargs", "args[0]", {}, root)


def signature_of(function):
    """That of a function; `anything` where it is not known, has names of ours, or is of an inner one."""
    try:
        parameters = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):
        parameters = None
    if parameters is None or not all(map(_is_plain, parameters)):
        return anything(names_of(function))
    names = [parameter.name for parameter in parameters]
    keywords = [each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
    defaults = {
        f"xs_default_{each.name}": each.default
        for each in parameters
        if each.default is not Parameter.empty
    }
    declared = [f"{name}=xs_default_{name}" if f"xs_default_{name}" in defaults else name for name in names]
    if keywords:
        declared.insert(len(names) - len(keywords), "*")
    only = sum(each.kind is Parameter.POSITIONAL_ONLY for each in parameters)
    if only:
        declared.insert(only, "/")
    passed = [f"{name}={name}" if name in keywords else name for name in names]
    first = names[0] if names else None

    def root(name):
        return name if name in names else "None"

    return Signature(", ".join(declared), ", ".join(passed), first, defaults, root)


def _is_plain(parameter):
    variable = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return not (variable or parameter.name.startswith("xs_") or parameter.name in _TAKEN)
