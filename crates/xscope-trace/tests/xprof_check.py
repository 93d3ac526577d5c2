"""Opens an XPlane file with XProf, the way its TensorBoard plugin does, and checks what it shows.

    pip install 'xprof==2.24.*'
    python xprof_check.py FILE.xplane.pb --expect-event NAME ... [--expect-steps N]
                          [--expect-framework-op NAME ...]

Exit code 0 if the trace viewer (whole and streaming) shows all the events and the overview page
answers, 1 if not, 2 if XProf is not installed or the file is missing. Works on a copy: XProf
leaves caches beside the files that it opens.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile


def load_tool(path, tool, params=None):
    from xprof.convert import raw_to_tool_data

    options = {"use_saved_result": False, **(params or {})}
    data, _ = raw_to_tool_data.xspace_to_tool_data([str(path)], tool, options)
    if data is None:
        raise RuntimeError(f"{tool} gave no answer")
    return json.loads(data)


def event_names(trace):
    """Names of the events with a duration; XProf moves the full name of an op into its args."""
    names = set()
    for event in trace["traceEvents"]:
        if event.get("ph") == "X":
            names.add(event["name"])
            names.add(event.get("args", {}).get("long_name"))
    return names


def table_rows(tables, column):
    """Rows of the first table that has this column, as dicts of column id and value."""
    for table in tables:
        ids = [col["id"] for col in table.get("cols", [])]
        if column in ids:
            rows = (row["c"] for row in table["rows"])
            return [dict(zip(ids, (cell and cell.get("v") for cell in row))) for row in rows]
    raise RuntimeError(f"no table has the column {column}")


def check(path, args):
    whole = event_names(load_tool(path, "trace_viewer"))
    stream = load_tool(path, "trace_viewer@", {"trace_viewer_options": {"resolution": "0"}})
    streamed = event_names(stream)
    problems = []
    for name in args.expect_event:
        if name not in whole:
            problems.append(f"the trace viewer does not show the event {name!r}")
        if name not in streamed:
            problems.append(f"the streaming trace viewer does not show the event {name!r}")
    if not whole or not streamed:
        problems.append("the trace viewer shows no event")
    overview = load_tool(path, "overview_page")
    steps = table_rows(overview, "stepnum")
    if len(steps) < args.expect_steps:
        problems.append(f"the overview has {len(steps)} steps, expected {args.expect_steps}")
    ops = {row["operation"] for row in table_rows(load_tool(path, "framework_op_stats"), "operation")}
    for name in args.expect_framework_op:
        if name not in ops:
            problems.append(f"the framework op table has no row {name!r}, but {sorted(ops)}")
    print(
        f"{args.file}: {len(whole)} event names, {len(steps)} steps, {len(ops)} framework ops",
        file=sys.stderr,
    )
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--expect-event", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--expect-steps", type=int, default=0, metavar="N")
    parser.add_argument("--expect-framework-op", nargs="+", default=[], metavar="NAME")
    args = parser.parse_args()
    if not args.file.is_file():
        parser.error(f"no such file: {args.file}")
    try:
        import xprof  # noqa: F401
    except ImportError:
        parser.error("XProf is not installed; run: pip install 'xprof==2.24.*'")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "plugins", "profile", "2026_01_01_00_00_00")
        folder.mkdir(parents=True)
        copy = shutil.copy(args.file, folder)
        try:
            problems = check(copy, args)
        except (RuntimeError, ValueError, KeyError) as error:
            problems = [f"XProf cannot open the file: {error}"]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
