"""Checks that what the probe tables name exists in the sources of a released server.

    pip download --no-deps --only-binary :all: sglang vllm
    python3 check_tables.py ../../probes/sglang.toml sglang-*.whl

Takes a table and a wheel, an sdist that is unpacked, or a source folder. Nothing is imported or
installed: the sources are parsed. Looks at modules, functions, methods (also those of base classes
in the same release) and at the parameters that the table's paths begin with; attributes of objects
are known only at run time. Needs Python 3.11 for TOML. Exit code 1 if something that is not
`optional` is missing.
"""

import ast
import pathlib
import re
import sys
import tomllib
import zipfile


class Sources:
    def __init__(self, place):
        self.place = pathlib.Path(place)
        self.zip = zipfile.ZipFile(place) if self.place.suffix == ".whl" else None
        self.trees = {}

    def tree(self, module):
        if module not in self.trees:
            path = module.replace(".", "/")
            texts = (self.text(f"{path}.py"), self.text(f"{path}/__init__.py"))
            text = next((text for text in texts if text is not None), None)
            self.trees[module] = None if text is None else ast.parse(text)
        return self.trees[module]

    def text(self, path):
        if self.zip is not None:
            return self.zip.read(path).decode() if path in self.zip.namelist() else None
        file = self.place / path
        return file.read_text() if file.exists() else None

    def find(self, module, name):
        """The definition of a function or method, also one that a base class has."""
        tree = self.tree(module)
        if tree is None:
            return None
        first, *rest = name.split(".")
        node = definition(tree.body, first)
        if node is None:
            origin = imported(tree, module, first)
            return self.find(origin[0], ".".join([origin[1], *rest])) if origin else None
        if not rest or not isinstance(node, ast.ClassDef):
            return None if rest else node
        method = definition(node.body, rest[0])
        if method is not None:
            return method
        bases = [ast.unparse(base).split("[")[0].rsplit(".", 1)[-1] for base in node.bases]
        return next(filter(None, (self.find(module, f"{base}.{rest[0]}") for base in bases)), None)


def definition(body, name):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node for top in body for node in ast.walk(top) if isinstance(node, kinds)]
    direct = [node for node in body if isinstance(node, kinds)]
    return next((node for node in (*direct, *found) if node.name == name), None)


def imported(tree, module, name):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    package = module.rsplit(".", node.level)[0] + "." if node.level else ""
                    return package + (node.module or ""), alias.name
    return None


def roots(probe):
    """The names with which the paths of a probe begin."""
    paths = [probe.get(key) for key in ("request", "rids", "link", "span_by")]
    paths += [probe.get("batch") if probe.get("batch") != "next" else None]
    paths += [*probe.get("args", {}).values(), *probe.get("when", {})]
    paths += [probe[key]["keys"] for key in ("stamp", "wait") if key in probe]
    for path in paths:
        # The alternatives of one value are for different versions.
        yield {re.match(r"\w+", one).group() for one in ([path] if isinstance(path, str) else path or [])}


def main(table, place):
    sources, missing, checked = Sources(place), [], 0
    for probe in tomllib.loads(pathlib.Path(table).read_text())["probe"]:
        label = f"{probe['module']}.{probe['name']}"
        node = sources.find(probe["module"], probe["name"])
        if node is None:
            print(f"{'absent (optional)' if probe.get('optional') else 'MISSING'}: {label}")
            missing += [] if probe.get("optional") else [label]
            continue
        checked += 1
        arguments = node.args
        names = {arg.arg for arg in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
        for alternatives in roots(probe):
            if alternatives and not alternatives & (names | {"return"}):
                print(f"MISSING: {label} has no parameter {' or '.join(sorted(alternatives))}")
                missing.append(label)
    print(f"{checked} of {table} found in {place}, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
