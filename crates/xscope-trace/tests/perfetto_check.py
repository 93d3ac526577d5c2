"""Checks a file that xscope wrote for Perfetto against Perfetto's own schema.

    pip install perfetto
    python perfetto_check.py FILE.pftrace [--expect-slice NAME ...] [--expect-slices N]
                             [--expect-machines N] [--sql QUERY ...]

Exit code 0 if the file is what Perfetto's trace processor takes: every field known to the schema;
every packet on a sequence; interned data that are defined before they are used; tracks that are
described before their events; on each track slices that begin and end in order, never at a time
before the one around them; counters with values; arrows that leave and arrive. 1 if not, 2 if the
package `perfetto` is not installed or the file is missing.

--sql answers queries on `slice(ts, dur, name)` and `counter(ts, value, name)`, in nanoseconds as in
Perfetto's own tables, as one line of JSON each: the package has no trace processor in it.
"""

import argparse
import collections
import json
import pathlib
import sqlite3
import sys

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
ROOT_TRACK = 0


def unknown_fields(message, path=""):
    """Paths of the fields that the schema does not have."""
    from google.protobuf import unknown_fields as unknown

    found = [f"{path}#{field.field_number}" for field in unknown.UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        values = value if getattr(field, "is_repeated", None) or field_repeats(field) else [value]
        for one in values:
            found += unknown_fields(one, f"{path}.{field.name}")
    return found


def field_repeats(field):
    try:
        return field.label == field.LABEL_REPEATED
    except AttributeError:
        return False


class Checker:
    def __init__(self):
        self.problems = collections.Counter()
        self.interned = collections.defaultdict(dict)
        self.tracks = {}
        self.open = collections.defaultdict(list)
        self.last = {}
        self.names = collections.Counter()
        self.slices = []
        self.samples = []
        self.flows_out = set()
        self.flows_in = set()
        self.machines = set()
        self.cleared = set()
        self.pids = {}
        self.snapshots = 0

    def problem(self, text):
        self.problems[text] += 1

    def packet(self, packet):
        for path in unknown_fields(packet):
            self.problem(f"the schema does not know the field {path}")
        sequence = (packet.machine_id, packet.trusted_packet_sequence_id)
        if not packet.trusted_packet_sequence_id:
            self.problem("a packet is on no sequence")
        self.machines.add(packet.machine_id)
        if packet.sequence_flags & 1:
            self.cleared.add(sequence)
            self.interned = collections.defaultdict(
                dict, {key: value for key, value in self.interned.items() if key[0] != sequence}
            )
        for table in ("event_names", "event_categories", "debug_annotation_names",
                      "debug_annotation_string_values"):
            for entry in getattr(packet.interned_data, table):
                text = entry.str if table.endswith("values") else entry.name
                if not entry.iid:
                    self.problem(f"{table} has an entry 0")
                self.interned[(sequence, table)][entry.iid] = text
        if packet.HasField("clock_snapshot"):
            self.snapshots += 1
            clocks = {clock.clock_id for clock in packet.clock_snapshot.clocks}
            if packet.clock_snapshot.primary_trace_clock not in clocks:
                self.problem("a clock snapshot lacks the clock of the trace")
        if packet.HasField("track_descriptor"):
            self.track(packet.track_descriptor, packet.machine_id)
        if packet.HasField("track_event"):
            if not packet.sequence_flags & 2 or sequence not in self.cleared:
                self.problem("an event does not say that it needs interned data")
            if not packet.HasField("timestamp"):
                self.problem("an event without a time")
            self.event(packet, sequence)

    def track(self, track, machine):
        if track.uuid in self.tracks:
            self.problem("a track is described twice")
        if track.parent_uuid and track.parent_uuid not in self.tracks:
            self.problem("a track's parent is not described before it")
        for part in ("process", "thread"):
            if track.HasField(part) and not getattr(track, part).pid:
                self.problem(f"a {part} without a pid")
        if track.HasField("process"):
            if (machine, track.process.pid) in self.pids:
                self.problem("two processes of a machine share a pid")
            self.pids[machine, track.process.pid] = track.process.process_name
        if track.HasField("thread"):
            if (machine, track.thread.pid) not in self.pids:
                self.problem("a thread's process is not described before it")
            if not track.thread.tid:
                self.problem("a thread without a tid")
        self.tracks[track.uuid] = track

    def event(self, packet, sequence):
        event, at = packet.track_event, packet.timestamp
        if event.track_uuid not in self.tracks or event.track_uuid == ROOT_TRACK:
            self.problem("an event on a track that is not described")
        if at < self.last.get(event.track_uuid, 0):
            self.problem("events of a track are not in the order of time")
        self.last[event.track_uuid] = at
        names = self.interned[(sequence, "event_names")]
        if event.name_iid and event.name_iid not in names:
            self.problem("a name that is not interned")
        for iid in event.category_iids:
            if iid not in self.interned[(sequence, "event_categories")]:
                self.problem("a category that is not interned")
        for note in event.debug_annotations:
            if note.name_iid not in self.interned[(sequence, "debug_annotation_names")] \
                    and not note.name:
                self.problem("an argument whose name is not interned")
            if note.WhichOneof("value") is None:
                self.problem("an argument without a value")
            iid = note.string_value_iid
            if iid and iid not in self.interned[(sequence, "debug_annotation_string_values")]:
                self.problem("an argument's text that is not interned")
        stack = self.open[event.track_uuid]
        if event.type == BEGIN:
            if not event.name_iid and not event.name:
                self.problem("a slice without a name")
            name = names.get(event.name_iid) or event.name
            self.names[name] += 1
            stack.append((at, name))
            self.flows_out.update(event.flow_ids)
            self.flows_in.update(event.terminating_flow_ids)
        elif event.type == END:
            if not stack:
                self.problem("an end without a begin")
            else:
                start, name = stack.pop()
                self.slices.append((start, at - start, name))
                if start > at:
                    self.problem("a slice that ends before it begins")
        elif event.type == COUNTER:
            if event.WhichOneof("counter_value_field") is None:
                self.problem("a counter's sample without a value")
            if not self.tracks[event.track_uuid].HasField("counter"):
                self.problem("a sample on a track that is no counter")
            field = event.WhichOneof("counter_value_field")
            name = self.tracks[event.track_uuid].name
            self.samples.append((at, getattr(event, field) if field else None, name))
        else:
            self.problem(f"an event of type {event.type}")

    def answer(self, queries):
        tables = sqlite3.connect(":memory:")
        tables.execute("CREATE TABLE slice (ts INT, dur INT, name TEXT)")
        tables.execute("CREATE TABLE counter (ts INT, value REAL, name TEXT)")
        open_slices = [(at, -1, name) for stack in self.open.values() for at, name in stack]
        tables.executemany("INSERT INTO slice VALUES (?, ?, ?)", self.slices + open_slices)
        tables.executemany("INSERT INTO counter VALUES (?, ?, ?)", self.samples)
        for query in queries:
            print(json.dumps(tables.execute(query).fetchall()))

    def finish(self, args):
        if self.snapshots != 1:
            self.problem(f"{self.snapshots} clock snapshots instead of one")
        for flow in self.flows_in - self.flows_out:
            self.problem("an arrow that comes from nowhere")
        for name in args.expect_slice:
            if not self.names[name]:
                self.problem(f"no slice is called {name!r}")
        slices = sum(self.names.values())
        if args.expect_slices is not None and slices != args.expect_slices:
            self.problem(f"{slices} slices, expected {args.expect_slices}")
        if args.expect_machines is not None and len(self.machines) != args.expect_machines:
            self.problem(f"{len(self.machines)} machines, expected {args.expect_machines}")
        unfinished = sum(len(stack) for stack in self.open.values())
        print(
            f"{args.file}: {slices} slices ({unfinished} never ended), {len(self.tracks)} tracks, "
            f"{len(self.pids)} processes, {len(self.machines)} machines, "
            f"{len(self.flows_out & self.flows_in)} arrows",
            file=sys.stderr,
        )
        return self.problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--expect-slice", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--expect-slices", type=int, metavar="N")
    parser.add_argument("--expect-machines", type=int, metavar="N")
    parser.add_argument("--sql", nargs="+", default=[], metavar="QUERY")
    args = parser.parse_args()
    if not args.file.is_file():
        parser.error(f"no such file: {args.file}")
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema
    except ImportError:
        parser.error("Perfetto's schema is not installed; run: pip install perfetto")
    trace = schema.Trace()
    trace.ParseFromString(args.file.read_bytes())
    checker = Checker()
    if unknown := unknown_fields(schema.Trace.FromString(b"")):
        checker.problem(f"the file has unknown fields {unknown}")
    for packet in trace.packet:
        checker.packet(packet)
    checker.answer(args.sql)
    problems = checker.finish(args)
    for problem, count in problems.items():
        print(f"error: {problem} ({count}x)", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
