"""What the scenarios call, as a server's module would be: every kind of function."""

import asyncio
import time
from types import SimpleNamespace


def plain(value, twice=False):
    return value * 2 if twice else value


def fails():
    raise KeyError("as the server means it to")


def poll(queue):
    return queue.pop() if queue else None


def poll_all(queue):
    return queue.copy()


def numbers(count):
    yield from range(count)


def shaped(first, /, second=2, *, third=3):
    return first, second, third


def builtin_names(type, len):
    return type, len


def any_shape(*args, **kwargs):
    return args, kwargs


async def double(value):
    await asyncio.sleep(0)
    return value * 2


async def stream(count, pause=0.0):
    for number in range(count):
        yield number
        await asyncio.sleep(pause)


async def handle(scope):
    await read(scope)
    rids = [await send(f"{scope['path']}-{number}") for number in range(2)]
    await asyncio.to_thread(check, rids)
    await asyncio.sleep(0)
    return rids


def check(rids):
    return len(rids)


async def read(scope):
    return scope


async def send(rid):
    return rid


def ingest(rid):
    return rid


def schedule(rids):
    return SimpleNamespace(bid=7, rids=rids) if rids else None


def run_batch(batch):
    part()
    time.sleep(0.001)
    return len(batch.rids)


def part():
    return None


class Model:
    def __init__(self):
        self.compile()

    def compile(self):
        self.compiled = lambda value: value + 1

    def method(self, value):
        return self.compiled(value)

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_class(cls, value):
        return cls.__name__, value
