"""Measures what recording costs, in one run of a server: interleaved rounds with it on and off.

    python3 overhead.py RUN_DIR URL [--rounds 20] [--requests 10] [--items 8]

RUN_DIR is that of a running `xscope run`. Its byte `probe/control` switches the probes of all
processes at once, so that both halves meet the same server, with the same state and at the same
time. Rounds alternate in the order on, off, off, on. Prints one JSON object; the scores of both
halves must be equal, else the exit code is 1.
"""

import argparse
import http.client
import json
import statistics
import sys
import time
import urllib.parse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir")
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=20)
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    body = json.dumps({
        "model": "m",
        "query": [11, 12, 13, 14, 15, 16, 17, 18],
        "items": [[20 + item, 21, 22] for item in range(args.items)],
        "label_token_ids": [30, 31],
        "apply_softmax": False,
    })
    for _ in range(args.warmup):
        score(connection, body)
    times, scores = {True: [], False: []}, {True: set(), False: set()}
    for number in range(args.rounds):
        first = number % 2 == 0
        for on in (first, not first):
            with open(f"{args.run_dir}/probe/control", "r+b") as control:
                control.write(b"\1" if on else b"\0")
            for _ in range(args.requests):
                taken, answer = score(connection, body)
                times[on].append(taken)
                scores[on].add(answer)
    with open(f"{args.run_dir}/probe/control", "r+b") as control:
        control.write(b"\1")
    report(times, scores)
    if scores[True] != scores[False]:
        sys.exit("the answers differ with the probes on and off")


def score(connection, body):
    start = time.perf_counter_ns()
    connection.request("POST", "/v1/score", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    taken = time.perf_counter_ns() - start
    if answer.status != 200:
        sys.exit(f"POST /v1/score answers {answer.status}: {text}")
    return taken / 1e6, json.dumps(json.loads(text)["scores"])


def report(times, scores):
    on, off = sorted(times[True]), sorted(times[False])
    middle = statistics.median
    difference = middle(on) - middle(off)
    # The standard error of a difference of medians, from their quartiles.
    spread = lambda values: (values[3 * len(values) // 4] - values[len(values) // 4]) / 1.349
    error = 1.2533 * sum(spread(values) ** 2 / len(values) for values in (on, off)) ** 0.5
    print(json.dumps({
        "n": len(on),
        "p50_on_ms": round(middle(on), 4),
        "p50_off_ms": round(middle(off), 4),
        "mean_on_ms": round(statistics.fmean(on), 4),
        "mean_off_ms": round(statistics.fmean(off), 4),
        "difference_ms": round(difference, 4),
        "standard_error_ms": round(error, 4),
        "share": round(difference / middle(off), 5),
        "answers_equal": scores[True] == scores[False],
    }))


if __name__ == "__main__":
    main()
