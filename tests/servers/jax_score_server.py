"""A small but real scoring server on JAX, built as sglang-jax is: for the tests of `xscope run`.

Three processes: this one speaks HTTP and tokenizes, one schedules and runs a jitted transformer,
one turns its results into what the first waits for. As with sglang-jax, the labels and the number
of sequences in a batch are compile-time constants, so that each new combination compiles, and each
score is followed by a decode step that nobody needs.

    python jax_score_server.py --port 30000

needs JAX and nothing else. POST /v1/score, /start_profile, /stop_profile; GET /health,
/get_server_info, /profile_status.
"""

import argparse
import asyncio
import dataclasses
import functools
import itertools
import json
import math
import multiprocessing
import os
import signal
import threading
import uuid

VOCAB = 512
HIDDEN = 64
LAYERS = 2
HEADS = 4
CONTEXT = 256
MOST_ROWS = 8
BUCKETS = (32, 64, 128, 256)


@dataclasses.dataclass
class ScoreItem:
    rid: str
    input_ids: list
    label_ids: tuple


@dataclasses.dataclass
class BatchOut:
    rids: list
    logprobs: list


class BadRequest(Exception):
    pass


# The HTTP process.


class Frontend:
    def __init__(self, scheduler, results):
        self.scheduler = scheduler
        self.waiting = {}
        self.loop = None
        self.replies = asyncio.Queue(maxsize=1)
        self.results = results
        self.profiling = asyncio.Lock()

    async def run(self, host, port):
        self.loop = asyncio.get_running_loop()
        for target in (self.read_results, self.read_replies):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        server = await asyncio.start_server(self.connection, host, port)
        print(f"serving on http://{host}:{server.sockets[0].getsockname()[1]}", flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.loop.add_signal_handler(number, stop.set)
        await stop.wait()
        server.close()

    def read_results(self):
        while True:
            try:
                out = self.results.recv()
            except (EOFError, OSError):
                return
            self.loop.call_soon_threadsafe(self.deliver, out)

    def read_replies(self):
        while True:
            try:
                reply = self.scheduler.recv()
            except (EOFError, OSError):
                return
            self.loop.call_soon_threadsafe(self.replies.put_nowait, reply)

    def deliver(self, out):
        for rid, logprobs in zip(out.rids, out.logprobs):
            future = self.waiting.pop(rid, None)
            if future is not None and not future.done():
                future.set_result(logprobs)

    async def connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, path, _ = first.split(" ", 2)
                pairs = (line.partition(":") for line in lines if line)
                headers = {key.strip().lower(): value.strip() for key, _, value in pairs}
                await self.exchange(method, path, headers, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def exchange(self, method, path, headers, reader, writer):
        """One request of a connection, from its headers to the last byte of its answer."""
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        try:
            status, answer = await self.route(method, path, body)
        except BadRequest as error:
            status, answer = 400, {"object": "error", "message": str(error), "code": 400}
        except RuntimeError:
            status, answer = 500, "Internal Server Error"
        is_text = isinstance(answer, str)
        payload = answer.encode() if is_text else json.dumps(answer).encode()
        kind = "text/plain" if is_text else "application/json"
        reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}.get(status, "Error")
        writer.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(payload)}\r\n\r\n".encode() + payload
        )
        await writer.drain()

    async def route(self, method, path, body):
        if path == "/v1/score":
            return 200, await self.score(body)
        if path == "/health":
            return 200, ""
        if path == "/get_server_info":
            facts = {"model_path": "jax-score-test", "vocab_size": VOCAB, "device": "cpu", "nnodes": 1}
            return 200, facts
        if path in ("/start_profile", "/stop_profile", "/profile_status"):
            return 200, await self.profile(path, json.loads(body or b"{}"))
        return 404, {"detail": "Not Found"}

    async def profile(self, path, options):
        async with self.profiling:
            self.scheduler.send((path, options))
            reply = await self.replies.get()
        if reply is None:
            raise RuntimeError("the profiler refused")
        return reply

    async def score(self, body):
        try:
            request = json.loads(body)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        prompts, labels = self.prompts(request)
        futures = []
        for prompt in prompts:
            item = self.tokenize(prompt, labels)
            future = self.waiting[item.rid] = self.loop.create_future()
            futures.append(future)
            self.send(item)
        logprobs = await self.gather(futures)
        scores = self.finish(logprobs, bool(request.get("apply_softmax")))
        return {"scores": scores, "model": request["model"], "usage": None, "object": "scoring"}

    def prompts(self, request):
        if not isinstance(request, dict) or "model" not in request:
            raise BadRequest("[{'type': 'missing', 'loc': ('body', 'model')}]")
        labels = request.get("label_token_ids")
        if not isinstance(labels, list):
            raise BadRequest("label_token_ids must be provided")
        for label in labels:
            if not isinstance(label, int) or not 0 <= label < VOCAB:
                raise BadRequest(f"Token ID {label} is out of vocabulary (vocab size: {VOCAB})")
        query, items = request.get("query"), request.get("items")
        items = [items] if isinstance(items, str) else items
        if type(query) not in (str, list) or not isinstance(items, list):
            raise BadRequest("Invalid combination of query/items types for score_request.")
        if any(type(item) is not type(query) for item in items):
            raise BadRequest("Invalid combination of query/items types for score_request.")
        first = bool(request.get("item_first"))
        return [item + query if first else query + item for item in items], tuple(labels)

    def tokenize(self, prompt, labels):
        ids = list(prompt.encode()) if isinstance(prompt, str) else prompt
        if not 0 < len(ids) < CONTEXT or any(not 0 <= number < VOCAB for number in ids):
            raise BadRequest(f"The input ({len(ids)} tokens) does not fit the model.")
        return ScoreItem(uuid.uuid4().hex, ids, labels)

    def send(self, item):
        self.scheduler.send(item)

    async def gather(self, futures):
        return await asyncio.gather(*futures)

    def finish(self, logprobs, softmax):
        values = [[math.exp(value) for value in row] for row in logprobs]
        if not softmax:
            return values
        return [[value / sum(row) for value in row] for row in values]


# The scheduler process.


class Scheduler:
    def __init__(self, frontend, detokenizer, buckets):
        import jax

        self.jax = jax
        self.frontend, self.detokenizer = frontend, detokenizer
        self.buckets = buckets
        self.waiting = []
        self.bids = itertools.count(1)
        self.model = Model(jax)
        self.profiling = False

    def event_loop(self):
        while True:
            for message in self.recv_requests():
                if isinstance(message, ScoreItem):
                    self.handle_generate_request(message)
                else:
                    self.frontend.send(self.profile(*message))
            batch = self.get_next_batch()
            if batch is not None:
                self.process_batch_result(batch, self.run_batch(batch))

    def recv_requests(self):
        # sglang-jax spins here; a millisecond is left to the rest of a small machine.
        received = []
        while self.frontend.poll(0 if received or self.waiting else 0.001):
            received.append(self.frontend.recv())
        return received

    def handle_generate_request(self, item):
        self.waiting.append(item)

    def get_next_batch(self):
        if not self.waiting:
            return None
        labels = self.waiting[0].label_ids
        items = [item for item in self.waiting if item.label_ids == labels][:MOST_ROWS]
        self.waiting = [item for item in self.waiting if item not in items]
        return Batch(next(self.bids), items, self.buckets)

    def run_batch(self, batch):
        with self.jax.profiler.TraceAnnotation("run_batch"):
            logprobs, cache_miss = self.model.forward(batch)
        self.model.decode(batch)
        return logprobs, cache_miss

    def process_batch_result(self, batch, result):
        rows = self.model.to_host(batch, result[0])
        self.stream_output(batch, rows)

    def stream_output(self, batch, rows):
        self.detokenizer.send(BatchOut([item.rid for item in batch.items], rows))

    def profile(self, path, options):
        if path == "/profile_status":
            return {"status": "in_progress" if self.profiling else "idle"}
        starts = path == "/start_profile"
        if starts == self.profiling:
            return None
        if starts:
            levels = self.jax.profiler.ProfileOptions()
            levels.host_tracer_level = int(options.get("host_tracer_level", 2))
            levels.python_tracer_level = int(options.get("python_tracer_level", 1))
            directory = os.path.abspath(options["output_dir"])
            self.jax.profiler.start_trace(directory, profiler_options=levels)
        else:
            self.jax.profiler.stop_trace()
        self.profiling = starts
        return "Start profiling.\n" if starts else "Stop profiling. This will take some time.\n"


class Batch:
    def __init__(self, bid, items, buckets):
        self.bid, self.items = bid, items
        self.tokens = sum(len(item.input_ids) for item in items)
        longest = max(len(item.input_ids) for item in items)
        self.width = next(width for width in buckets if width >= longest)
        self.padded_tokens = self.width * len(items)


class Model:
    """A transformer with made-up weights, in float32."""

    def __init__(self, jax):
        import jax.numpy as jnp
        import numpy

        self.jax, self.jnp, self.numpy = jax, jnp, numpy
        keys = iter(jax.random.split(jax.random.key(1), 2 + 4 * LAYERS))
        weight = lambda *shape: jax.random.normal(next(keys), shape) * 0.1
        self.params = {
            "embed": weight(VOCAB, HIDDEN),
            "head": weight(HIDDEN, VOCAB),
            "layers": [
                {
                    "qkv": weight(HIDDEN, 3 * HIDDEN),
                    "out": weight(HIDDEN, HIDDEN),
                    "up": weight(HIDDEN, 4 * HIDDEN),
                    "down": weight(4 * HIDDEN, HIDDEN),
                }
                for _ in range(LAYERS)
            ],
        }
        self.initialize_jit()

    def initialize_jit(self):
        jax, jnp = self.jax, self.jnp

        @functools.partial(jax.jit, static_argnames=["labels"])
        def run_model(params, tokens, lengths, labels):
            with jax.named_scope("embed"):
                hidden = params["embed"][tokens]
            for index, layer in enumerate(params["layers"]):
                with jax.named_scope(f"layer_{index}"):
                    hidden = self.block(layer, hidden)
            with jax.named_scope("logits"):
                last = hidden[jnp.arange(tokens.shape[0]), lengths - 1]
                logits = last @ params["head"]
            with jax.named_scope("logprobs"):
                return jax.nn.log_softmax(logits)[:, jnp.array(labels, dtype=int)]

        @jax.jit
        def run_decode(params, tokens):
            with jax.named_scope("decode"):
                return (params["embed"][tokens] @ params["head"]).argmax(-1)

        self.run_model, self.run_decode = run_model, run_decode

    def block(self, layer, hidden):
        jax, jnp = self.jax, self.jnp
        rows, width, _ = hidden.shape
        with jax.named_scope("attention"):
            with jax.named_scope("qkv_proj"):
                qkv = self.norm(hidden) @ layer["qkv"]
            q, k, v = (
                part.reshape(rows, width, HEADS, HIDDEN // HEADS)
                for part in jnp.split(qkv, 3, axis=-1)
            )
            mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            with jax.named_scope("o_proj"):
                hidden = hidden + mixed.reshape(rows, width, HIDDEN) @ layer["out"]
        with jax.named_scope("mlp"):
            return hidden + jax.nn.silu(self.norm(hidden) @ layer["up"]) @ layer["down"]

    def norm(self, hidden):
        return hidden / self.jnp.sqrt((hidden**2).mean(-1, keepdims=True) + 1e-6)

    def forward(self, batch):
        tokens = self.numpy.zeros((len(batch.items), batch.width), self.numpy.int32)
        for row, item in enumerate(batch.items):
            tokens[row, : len(item.input_ids)] = item.input_ids
        lengths = self.numpy.array([len(item.input_ids) for item in batch.items])
        compiled = self.run_model._cache_size()
        logprobs = self.run_model(self.params, tokens, lengths, labels=batch.items[0].label_ids)
        misses = self.run_model._cache_size() - compiled
        return logprobs.block_until_ready(), misses

    def decode(self, batch):
        self.run_decode(self.params, self.numpy.zeros(len(batch.items), self.numpy.int32))

    def to_host(self, batch, logprobs):
        return self.numpy.asarray(logprobs).tolist()


# The detokenizer process.


class Detokenizer:
    def __init__(self, scheduler, frontend):
        self.scheduler, self.frontend = scheduler, frontend

    def event_loop(self):
        while True:
            try:
                out = self.scheduler.recv()
            except (EOFError, OSError):
                return
            self.frontend.send(self.handle_batch(out))

    def handle_batch(self, out):
        return BatchOut(out.rids, [[float(value) for value in row] for row in out.logprobs])


def run_scheduler(frontend, detokenizer, buckets):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        Scheduler(frontend, detokenizer, buckets).event_loop()
    except (EOFError, BrokenPipeError):
        pass  # the HTTP process is gone


def run_detokenizer(scheduler, frontend):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Detokenizer(scheduler, frontend).event_loop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--buckets", type=int, nargs="+", default=BUCKETS)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    to_scheduler, scheduler_end = context.Pipe()
    from_scheduler, to_detokenizer = context.Pipe(duplex=False)
    results, from_detokenizer = context.Pipe(duplex=False)
    children = [
        context.Process(
            target=run_scheduler,
            args=(scheduler_end, to_detokenizer, tuple(sorted(args.buckets))),
            daemon=True,
        ),
        context.Process(
            target=run_detokenizer, args=(from_scheduler, from_detokenizer), daemon=True
        ),
    ]
    for child in children:
        child.start()
    for end in (scheduler_end, from_scheduler, to_detokenizer, from_detokenizer):
        end.close()
    asyncio.run(serve(to_scheduler, results, args))


async def serve(scheduler, results, args):
    await Frontend(scheduler, results).run(args.host, args.port)


if __name__ == "__main__":
    # Under its own name, so that probes and children find the same module.
    import jax_score_server

    jax_score_server.main()
