"""Runs kernels through JAX for `xscope bench engine kernel --jax`: standard library and JAX only.

Reads a JSON document from stdin:
    {"kernels": [{"name": str, "kernel": "matmul" | "attention" | "kv_update" | "moe", sizes ...}],
     "folder": str, "runs": int, "warmup": int, "dtype": "float32" | "bfloat16", "prefix": str}
Writes the answers to FOLDER/answers/<index>.f32 (little endian) and a profile below FOLDER/trace, in
which each call is annotated with the prefix and the kernel's name and waited for. Prints one JSON
document with what it ran on. Inputs are those of xscope's own kernels, made from their places.
"""

import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = 16


def values(salt, *shape):
    """As `input_values` in crates/xscope-model/src/kernels.rs: 32-bit arithmetic that wraps."""
    place = np.arange(int(np.prod(shape)), dtype=np.uint32)
    x = place * np.uint32(0x9E3779B1) + np.uint32((salt * 0x85EBCA77) & 0xFFFFFFFF)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    unit = (x >> np.uint32(8)).astype(np.float32) / np.float32(8388608.0) - np.float32(1.0)
    if salt >= WEIGHTS:
        unit *= np.sqrt(np.float32(3.0) / np.float32(shape[-1]))
    return unit.reshape(shape)


def matmul(s):
    def kernel(x, w):
        return x @ w.T

    return kernel, [values(0, s["m"], s["k"]), values(WEIGHTS, s["n"], s["k"])], ()


def attention(s):
    batch, heads, kv_heads, dim = s["batch"], s["heads"], s["kv_heads"], s["head_dim"]
    queries, keys = s["queries"], s["keys"]
    group = heads // kv_heads

    def kernel(q, k, v):
        q = q.reshape(batch, kv_heads, group, queries, dim)
        scores = jnp.einsum("bhgqd,bhkd->bhgqk", q, k) * (1.0 / np.sqrt(dim))
        last = jnp.arange(queries)[:, None] + (keys - queries)
        sees = jnp.arange(keys)[None, :] <= last
        probs = jax.nn.softmax(jnp.where(sees, scores.astype(jnp.float32), -jnp.inf), axis=-1)
        mixed = jnp.einsum("bhgqk,bhkd->bqhgd", probs.astype(v.dtype), v)
        return mixed.reshape(batch * queries, heads * dim)

    shapes = [(batch, heads, queries, dim), (batch, kv_heads, keys, dim), (batch, kv_heads, keys, dim)]
    return kernel, [values(salt, *shape) for salt, shape in enumerate(shapes)], ()


def kv_update(s):
    batch, kv_heads, dim = s["batch"], s["kv_heads"], s["head_dim"]
    tokens, capacity = s["tokens"], s["capacity"]
    first = (capacity - tokens) // 2
    cache = np.zeros((batch, kv_heads, capacity, dim), np.float32)

    def kernel(k_cache, v_cache, k, v):
        at = (0, 0, first, 0)
        return (
            jax.lax.dynamic_update_slice(k_cache, k, at),
            jax.lax.dynamic_update_slice(v_cache, v, at),
        )

    new = [values(salt, batch, kv_heads, tokens, dim) for salt in (0, 1)]
    return kernel, [cache, cache.copy(), *new], (0, 1)


def moe(s):
    tokens, hidden, inner = s["tokens"], s["hidden"], s["inner"]
    experts, top_k = s["experts"], s["top_k"]

    def kernel(x, logits, gate, up, down):
        best, ids = jax.lax.top_k(logits, top_k)
        shares = jax.nn.softmax(best, axis=-1).reshape(-1)
        order = jnp.argsort(ids.reshape(-1), stable=True)
        sizes = jnp.bincount(ids.reshape(-1), length=experts).astype(jnp.int32)
        token = order // top_k
        own = x[token]
        project = jax.lax.ragged_dot
        inside = jax.nn.silu(project(own, gate, sizes)) * project(own, up, sizes)
        answer = project(inside, down, sizes) * shares[order, None].astype(x.dtype)
        return jnp.zeros_like(x).at[token].add(answer)

    def weights(part, *shape):
        stacked = [values(WEIGHTS + 3 * expert + part, *shape).T for expert in range(experts)]
        return np.stack(stacked)

    inputs = [values(0, tokens, hidden), values(1, tokens, experts)]
    inputs += [weights(0, inner, hidden), weights(1, inner, hidden), weights(2, hidden, inner)]
    return kernel, inputs, ()


MAKERS = {"matmul": matmul, "attention": attention, "kv_update": kv_update, "moe": moe}


def prepare(shape, dtype):
    kernel, inputs, donated = MAKERS[shape["kernel"]](shape)
    # What the router says decides who computes: it stays exact.
    exact = 1 if shape["kernel"] == "moe" else None
    arrays = [
        jnp.asarray(value, jnp.float32 if index == exact else dtype)
        for index, value in enumerate(inputs)
    ]
    kernel.__name__ = "xscope_" + shape["kernel"]
    return jax.jit(kernel, donate_argnums=donated), arrays, len(donated)


def call(kernel, inputs, donated):
    """Runs it to its end; what was given away is replaced by what came of it."""
    answer = kernel(*inputs)
    jax.block_until_ready(answer)
    if donated:
        inputs[:donated] = answer
        return answer[0]
    return answer


def trace_options():
    """Host annotations, and no Python calls, which would slow every call down."""
    try:
        options = jax.profiler.ProfileOptions()
    except AttributeError:
        return {}
    options.python_tracer_level = 0
    options.host_tracer_level = 2
    return {"profiler_options": options}


def main():
    task = json.load(sys.stdin)
    dtype = jnp.dtype(task["dtype"])
    jax.config.update("jax_default_matmul_precision", "highest" if dtype == jnp.float32 else None)
    os.makedirs(os.path.join(task["folder"], "answers"))
    prepared = []
    for index, shape in enumerate(task["kernels"]):
        kernel, inputs, donated = prepare(shape, dtype)
        for _ in range(task["warmup"]):
            answer = call(kernel, inputs, donated)
        answer = np.asarray(answer, np.float32)
        if shape["kernel"] == "kv_update":
            answer = answer[:, :, : (shape["capacity"] - shape["tokens"]) // 2 + shape["tokens"]]
        answer.astype("<f4").tofile(os.path.join(task["folder"], "answers", f"{index}.f32"))
        prepared.append((task["prefix"] + shape["name"], kernel, inputs, donated))
    jax.profiler.start_trace(os.path.join(task["folder"], "trace"), **trace_options())
    try:
        for _ in range(task["runs"]):
            # In turns, so that what disturbs the machine disturbs all.
            for name, kernel, inputs, donated in prepared:
                with jax.profiler.TraceAnnotation(name):
                    call(kernel, inputs, donated)
    finally:
        jax.profiler.stop_trace()
    device = jax.devices()[0]
    print(json.dumps({
        "jax": jax.__version__,
        "platform": device.platform,
        "device": device.device_kind,
        "devices": len(jax.devices()),
        "python": sys.version.split()[0],
    }))


main()
