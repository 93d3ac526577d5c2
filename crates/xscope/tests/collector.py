"""A collector of OpenTelemetry traces that takes what the official protos take, and says what it got.

    collector.py            listens on a free port of 127.0.0.1, prints it, then, when its standard
                            input ends, all spans as JSON
    collector.py --file F   the same of a file of OTLP/JSON lines
    collector.py --refuse   answers that it refused a span

Fails on what the protos do not know, on ids that are no ids, and on parents and links that lead nowhere.
"""

import argparse
import base64
import http.server
import json
import pathlib
import sys
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

ID_BYTES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def with_ids(value):
    """OTLP/JSON has ids in hexadecimal, where the JSON of protos has bytes in base64."""
    if isinstance(value, list):
        return [with_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, one in value.items():
        if key in ID_BYTES:
            raw = bytes.fromhex(one)
            assert len(raw) == ID_BYTES[key] and any(raw), f"{key} is {one!r}"
            one = base64.b64encode(raw).decode()
        found[key] = with_ids(one)
    return found


def decoded(body):
    return json_format.ParseDict(with_ids(json.loads(body)), service.ExportTraceServiceRequest())


def plain(value):
    kind = value.WhichOneof("value")
    assert kind, "an attribute without a value"
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind)


def attributes(pairs):
    found = {pair.key: plain(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "two attributes of one key"
    return found


def spans(requests):
    all_spans = []
    for resource in (one for request in requests for one in request.resource_spans):
        assert resource.schema_url.startswith("https://opentelemetry.io/schemas/")
        about = attributes(resource.resource.attributes)
        assert about["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            assert span.name and span.kind and span.start_time_unix_nano <= span.end_time_unix_nano
            all_spans.append({
                "trace": span.trace_id.hex(),
                "id": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "name": span.name,
                "kind": span.kind,
                "start": span.start_time_unix_nano,
                "end": span.end_time_unix_nano,
                "attributes": attributes(span.attributes),
                "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                "failed": span.status.code == 2,
                "service": about["service.name"],
            })
    places = {(span["trace"], span["id"]) for span in all_spans}
    assert len(places) == len(all_spans), "two spans of one id"
    for span in all_spans:
        assert not span["parent"] or (span["trace"], span["parent"]) in places, "a parent is missing"
        assert all(tuple(link) in places for link in span["links"]), "a link leads nowhere"
    return all_spans


def collect(refuse):
    requests = []

    class Collector(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = b"{}"
            if self.path != "/v1/traces" or self.headers["content-type"] != "application/json":
                self.send_response(404)
            else:
                requests.append(decoded(body))
                self.send_response(200)
                if refuse:
                    answer = b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}'
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()
    return requests


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=pathlib.Path)
    parser.add_argument("--refuse", action="store_true")
    args = parser.parse_args()
    if args.file:
        requests = [decoded(line) for line in args.file.read_text(encoding="utf-8").splitlines()]
    else:
        requests = collect(args.refuse)
    json.dump(spans(requests), sys.stdout)


main()
