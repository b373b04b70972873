"""Softmax in doubles, and arrays whose numbers are not all finite, for the tests of dense kernels."""

import functools

import numpy as np
import pytest
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import emit_dense, vectors
from attnc_ir.storage import from_float64, to_float64
from attnc_ir.types import DType
from backend_cases import TOLERANCE, close_numbers, laid_out


@functools.cache
def compiled_for(text, few, vector_bytes=None):
    """A spec as it is written, by vectors along keys where `few`, else along query rows, whatever its sizes
    are; for vectors of so many bytes, if given.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emit_dense, "is_few", lambda node: few)
        if vector_bytes is not None:
            patch.setattr(vectors, "native_bytes", lambda: vector_bytes)
        return attnc.compile(text, pipeline="select-strategy")


def expected(q, k, v, scale, allows):
    """Output and log-sum-exp in doubles, where `allows(i, j, n, m)`; other positions are never looked at."""
    (_, heads, n, _), (_, key_heads, m, _) = q.shape, k.shape
    out, lse = np.zeros((*q.shape[:3], v.shape[3])), np.full(q.shape[:3], -np.inf)
    allowed = np.broadcast_to(allows(np.arange(n)[:, None], np.arange(m)[None], n, m), (n, m))
    for b, h, i in np.ndindex(*q.shape[:3]):
        hk, seen = h * key_heads // heads, allowed[i]
        if not seen.any():
            continue
        scores = scale * (k[b, hk, seen] @ q[b, h, i])
        top = scores.max()
        if np.isnan(top) or np.isinf(top):
            out[b, h, i], lse[b, h, i] = np.nan, top
            continue
        weights = np.exp(scores - top)
        out[b, h, i] = (weights / weights.sum()) @ v[b, hk, seen]
        lse[b, h, i] = top + np.log(weights.sum())
    return out, lse


def drawn(rng, shape, dtype, strange):
    """Normal numbers, a share `strange` of them not finite."""
    numbers = rng.standard_normal(shape)
    if strange:
        numbers = np.where(rng.random(shape) < strange, rng.choice([np.nan, np.inf, -np.inf], shape), numbers)
    return from_float64(numbers, dtype)


@st.composite
def drawn_sizes(draw, queries, keys):
    """Sizes by name, widths around whole vectors."""
    group = draw(st.sampled_from([1, 1, 3, 4]))
    return {
        "B": draw(st.sampled_from([1, 2])),
        "G": 2,
        "H": 2 * group,
        "N": draw(st.sampled_from(queries)),
        "M": draw(st.sampled_from(keys)),
        "D": draw(st.sampled_from([1, 3, 4, 8, 17])),
        "E": draw(st.sampled_from([1, 3, 4, 5, 8, 9, 20])),
    }


def check_doubles(program, keys, values, scale, allows, sizes, layout, strange, seed):
    """`@g` over keys and values of these element types agrees with doubles, and threads do not change a bit."""
    rng = np.random.default_rng(seed)
    b, g, h, n, m, d, e = (sizes[x] for x in "BGHNMDE")
    shapes = {"q": (b, h, n, d), "k": (b, g, m, d), "v": (b, g, m, e)}
    arrays = {
        name: laid_out(drawn(rng, shape, values if name == "v" else keys, strange * (name != "q")), layout)
        for name, shape in shapes.items()
    }
    doubles = [to_float64(np.asarray(arrays[x]), values if x == "v" else keys) for x in "qkv"]
    with np.errstate(all="ignore"):
        out, lse = expected(*doubles, scale, allows)
    got = program.run("g", arrays, threads=1)
    accumulator = DType.F64 if DType.F64 in (keys, values) else DType.F32
    finite = np.abs(doubles[2][np.isfinite(doubles[2])])
    tolerance = max(TOLERANCE[keys], TOLERANCE[values])
    close_numbers(got[0], from_float64(out, values), values, tolerance, finite.max(initial=1e-300))
    size = np.maximum(np.abs(np.where(np.isfinite(lse), lse, 0.0)), 1.0)
    close_numbers(got[1], from_float64(lse, accumulator), accumulator, TOLERANCE[keys], size)
    # Pre-filled or not, however many threads: the same bits.
    again = program.run("g", arrays, threads=3)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in again]
