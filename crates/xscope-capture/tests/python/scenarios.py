"""python scenarios.py NAME: runs one scenario; what it prints must not depend on probes."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time

import target
from target import Model, any_shape, builtin_names, double, fails, handle, numbers, plain, shaped, stream


def kinds():
    model = Model()
    print(plain(3), plain(value=4, twice=True), list(numbers(3)))
    print(model.method(1), Model.static(2), Model.of_class(3), callable(model.compiled))
    print(shaped(1), shaped(4, third=5), any_shape(6, named="text"), any_shape(), any_shape("four"))
    print(builtin_names(7, len=8))
    try:
        shaped(first=1)
    except TypeError as error:
        print(error)
    try:
        fails()
    except KeyError as error:
        print("failed", error)
    print(asyncio.run(asynchronous()))


async def asynchronous():
    collected = [number async for number in stream(3)]
    first = await stream(3, pause=0.05).__anext__()
    scopes = [
        {"path": "/v1/score", "headers": [(b"X-Request-Id", b"abc")]},
        {"path": "/health", "headers": []},
    ]
    answers = await asyncio.gather(*(handle(scope) for scope in scopes))
    for rid in answers[0]:
        target.ingest(rid)
    batch = target.schedule(answers[0])
    return collected, first, await double(5), answers, target.run_batch(batch)


def threads():
    def work():
        for number in range(200):
            plain(number)

    workers = [threading.Thread(target=work, name=f"worker-{index}") for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("done")


def children():
    plain(1)
    child = os.fork()
    if child == 0:
        plain(2)
        os._exit(0)
    os.waitpid(child, 0)
    for method, value in (("spawn", 3), ("fork", 4)):
        process = multiprocessing.get_context(method).Process(target=plain, args=(value,))
        process.start()
        process.join()
        print(process.exitcode)
    plain(5)


def polls():
    queue = ["x"]
    print(target.poll_all(queue), sum(target.poll(queue) is not None for _ in range(20000)))
    print(sum(bool(target.poll_all(queue)) for _ in range(20000)))


def many():
    for number in range(int(os.environ["CALLS"])):
        plain(number)
    print("done")


def killed():
    for number in range(500):
        plain(number)
    os.kill(os.getpid(), signal.SIGKILL)


def customized():
    plain(1)
    print(sys.modules["sitecustomize"].__file__ == os.environ["EXPECTED"], os.environ["SEEN"])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
