"""Drawn specs with arrays to run them on, and the question whether two graphs mean the same."""

import numpy as np
from hypothesis import strategies as st

from attnc.facts import analyze
from attnc.manager import PassManager
from attnc_ir.errors import AttncError
from attnc_ir.ops import AttentionOp
from attnc_ir.reference import run
from attnc_ir.text import format_module, parse


def apply(pipeline, text):
    """The module after a pipeline, verified after each pass, and the statistics of all passes together."""
    result = PassManager.of(pipeline, verify_each=True).run(parse(text))
    counts = {}
    for row in result.statistics.values():
        for word, count in row.items():
            counts[word] = counts.get(word, 0) + count
    return result.module, counts


def changed(pipeline, text):
    """The first graph after a pipeline, and the statistics."""
    module, counts = apply(pipeline, text)
    return module.graphs[0], counts


def node_of(text):
    """The only attention of graph `@g`, and what is known of the graph."""
    graph = parse(text)["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    return node, analyze(graph)


def chosen(text, **sizes):
    """The strategy chosen for the only attention, on no machine in particular, for expected sizes."""
    pipeline = f"select-strategy{{{','.join(['machine=builtin', *(f'{k}={n}' for k, n in sizes.items())])}}}"
    (node,) = PassManager.of(pipeline, verify_each=True).run(parse(text)).plan.nodes
    return node.chosen.strategy


def outcome(graph, arrays):
    """What running a graph gives: its outputs, or the class of its error."""
    try:
        return run(graph, arrays)
    except AttncError as error:
        return type(error)


def same_outcome(before, after, *, rtol=0.0):
    """Equal bit for bit up to the sign of zero, or within a relative tolerance."""
    if isinstance(before, type) or isinstance(after, type):
        return before is after
    return len(before) == len(after) and all(
        x.dtype == y.dtype and x.shape == y.shape and np.allclose(x, y, rtol=rtol, atol=rtol, equal_nan=True)
        for x, y in zip(before, after, strict=True)
    )


def assert_same_meaning(text, pipeline, arrays, *, rtol=0.0):
    """Running a spec before and after a pipeline gives the same, and what comes out reads back as itself."""
    module, _ = apply(pipeline, text)
    assert format_module(parse(format_module(module))) == format_module(module)
    before, after = outcome(parse(text).graphs[0], arrays), outcome(module.graphs[0], arrays)
    assert same_outcome(before, after, rtol=rtol), f"{format_module(module)}\n{before}\n{after}"


# --- draws ------------------------------------------------------------------------------------------------------------

small = st.integers(-3, 3)


def integers(draw, *shape, low=-2, high=2):
    """Small integers as doubles: ties are common, and arithmetic is exact."""
    count = int(np.prod(shape))
    elements = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    return np.array(elements, np.float64).reshape(shape)


@st.composite
def conditions(draw):
    """Conditions over b, h, i and j."""
    c, d = draw(small), draw(small)
    atoms = st.sampled_from(
        [
            f"j <= i + {c}", f"i - j < {c}", f"j >= {c}", f"j < {c}", f"i == j + {c}", f"2 * j - j > i * 1 - {c}",
            f"(i + j) % 2 == {abs(c)}", f"abs(i - j) <= {c}", f"h == {c}", "true", "false", f"i * j >= {c}",
            f"min(i, j) < max(j, {c})", f"where(i < {c}, true, j < {d})", f"{c} < {d}", f"j // 2 == i // {abs(d) + 1}",
            f"0.5 < {d}.5", f"i + {c} != {d}", f"where(j > {c}, 1, 2) == 1", f"%table[j % 3] > {c}",
        ]
    )  # fmt: skip
    joined = st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds("({}) and ({})".format, inner, inner),
            st.builds("({}) or ({})".format, inner, inner),
            st.builds("not ({})".format, inner),
        ),
        max_leaves=3,
    )
    return draw(joined)


@st.composite
def masks(draw, *, step=False):
    """Mask texts."""
    corners = ["top_left", "bottom_right", "-1", "0", "2"]
    leaves = [
        st.builds("causal({})".format, st.sampled_from(corners)),
        st.builds(
            "window({}, {}, {})".format, st.integers(0, 3), st.integers(0, 3), st.sampled_from(corners)
        ),
        st.builds("prefix({})".format, st.integers(0, 5)),
        st.builds("predicate({})".format, conditions()),
        st.sampled_from(
            ["everything", "nothing", "prefix(%two)", "predicate(j < %few[b])", "predicate(%few[b] <= j)"]
        ),
    ]
    if not step:
        leaves.append(st.sampled_from(["predicate(%ids[i] == %key_ids[j])", "predicate(not %allowed[i, j])"]))
        leaves.append(st.sampled_from(["tensor(%yes)", "tensor(%allowed)", "documents(%ids, %key_ids)"]))
    joined = st.recursive(
        st.one_of(leaves),
        lambda inner: st.one_of(
            st.builds("({} & {})".format, inner, inner),
            st.builds("({} | {})".format, inner, inner),
            st.builds("({0} & {1} & {0})".format, inner, inner),
            st.builds("~{}".format, inner),
        ),
        max_leaves=4,
    )
    return draw(joined)


NORMALIZERS = [
    "softmax",
    "hardmax(first)",
    "hardmax(last)",
    "hardmax(mean)",
    "topk(2, first)",
    "topk(1, last)",
    "mean",
]


MODIFIERS = [
    "score", "2.0 * score + i", "2.5 * tanh(score / 2.5)", "-1.0 * tanh(score)", "where(score > 0.5, score, score / 2.0)",
    "score * score - %table[j % 3]", "-(score - 1) * 0.5", "abs(score - 1.0) + (i - j)", "score - exp(1.0 * j)",
    "1.0 - score / 3", "0.25 * j", "tanh(score + 1.0) - 2",
]  # fmt: skip


@st.composite
def attributes(draw, *, step=False, normalizers=NORMALIZERS, biases=True):
    """The braces of an attention node, and whether it may give a log-sum-exp."""
    normalizer = draw(st.sampled_from(normalizers))
    parts = [f"normalizer = {normalizer}"]
    parts.append(f"mask = {draw(masks(step=step))}")
    parts.append(f"scale = {draw(st.sampled_from(['1.0', '0.5', '-2.0', '0.0', '-1.0', '3.0']))}")
    if draw(st.booleans()):
        parts.append(f"softcap = {draw(st.sampled_from(['1.0', '2.5']))}")
    if normalizer in "softmax,mean" and draw(st.booleans()):
        parts.append(f"modifier = expression({draw(st.sampled_from(MODIFIERS))})")
    terms = [
        "expression(0.5 * (j - i))", "expression(j)", "expression(i * 2 + h)", "expression(0)", "expression(-0.25 * j + i)",
        "alibi(%slopes)", "alibi(%zeros)", "relative(%near)", "expression(where(j < 2, 1, inf) * -1.0)",
        "expression(%table[j % 3])", "expression(where(i < 1, 0.5, 2))", "expression(-(%slopes[h] * (i - j)))",
        "expression((i - j) * %slopes[h])", "expression(%wide[h, min(max(j - i, -1), 1) + 1])",
    ]  # fmt: skip
    if not step:
        terms += ["tensor(%shift)", "tensor(%bias)", "expression(%bias[j])"]
    if biases and draw(st.booleans()):
        parts.append(f"bias = {' + '.join(draw(st.lists(st.sampled_from(terms), min_size=1, max_size=2)))}")
    empty = draw(st.sampled_from(["zero", "zero", "zero", "error", "default(%row)", "default(%row)"]))
    parts.append(f"empty = {empty}")
    return "{" + ", ".join(parts) + "}"


CONSTANTS = """
  %few = constant {type = i32[1], values = [-2]}
  %two = constant {type = i64[], values = [2]}
  %slopes = constant {type = f64[2], values = [0.5, -1]}
  %zeros = constant {type = f64[1], values = [0]}
  %near = constant {type = f64[1 x 3], values = [-1, 0, 0.5]}
  %table = constant {type = f64[3], values = [0, -1, 2]}
  %wide = constant {type = f64[2 x 3], values = [-1, 0, 0.5, 2, 1, 0]}
  %row = constant {type = f64[1], values = [7]}
  %yes = constant {type = bool[1], values = [1]}
  %shift = constant {type = f64[1], values = [2.5]}
"""


@st.composite
def stateless(draw, **options):
    """`(text, arrays)` of a graph with two attention nodes over `[2 x N x D]`, their sizes in part symbols."""
    n, m, d = draw(st.integers(0, 4)), draw(st.integers(0, 4)), draw(st.integers(1, 2))
    key_heads = draw(st.sampled_from([1, 2]))
    rows, keys = draw(st.sampled_from([str(n), "N"])), draw(st.sampled_from([str(m), "M"]))
    lse = ", %lse" if draw(st.booleans()) else ""
    text = f"""graph @g(%q: f64[2 x {rows} x {d}], %k: f64[{key_heads} x {keys} x {d}], %v: f64[{key_heads} x {keys} x 1],
      %w: f64[{key_heads} x {keys} x 1], %allowed: bool[{rows} x {keys}], %bias: f64[{keys}], %ids: i64[{rows}], %key_ids: i64[{keys}]) {{
      {CONSTANTS}
      %o{lse} = attend %q, %k, %v {draw(attributes(**options))}
      %p = attend %q, %k, %w {draw(attributes(**options))}
      return %o, %p{lse if draw(st.booleans()) else ""}
    }}"""
    special = [*range(-2, 3)] if draw(st.booleans()) else [*range(-2, 3), np.inf, np.nan]
    q = np.array(draw(st.lists(st.sampled_from(special), min_size=2 * n * d, max_size=2 * n * d)), np.float64)
    arrays = {
        "q": q.reshape(2, n, d),
        "k": integers(draw, key_heads, m, d),
        "v": integers(draw, key_heads, m, 1),
        "w": integers(draw, key_heads, m, 1),
        "allowed": integers(draw, n, m, low=0, high=1) > 0,
        "bias": np.where(integers(draw, m) > 1, -np.inf, 0.5),
        "ids": integers(draw, n, low=0, high=1).astype(np.int64),
        "key_ids": integers(draw, m, low=0, high=1).astype(np.int64),
    }
    return text, arrays


@st.composite
def stateful(draw, **options):
    """`(text, arrays)` of a graph with two caches, reads before and after their appends, and arrays for a few steps."""
    d = draw(st.integers(1, 2))
    key, value = draw(st.sampled_from(["%k", "%l"])), draw(st.sampled_from(["%v", "%w"]))
    lines = ["%c1 = append %c, %k, %v", f"%d1 = append %d, {key}, {value}"]
    reads = [("a", "%c", -1), ("b", "%c1", 0), ("e", "%d", -1), ("f", "%d1", 0), ("o", "%c1", 0)]
    body = [
        f"%{name} = attend.step %q, {cache} {draw(attributes(step=True, **options))}"
        for name, cache, _ in reads
    ]
    # A read of the first version stands above its append.
    order = [body[0], lines[0], body[1], body[2], lines[1], body[3], body[4]]
    returned = draw(st.lists(st.sampled_from(["a", "b", "e", "f", "o"]), min_size=1, max_size=3))
    text = f"""graph @g(%q: f64[2 x {d}], %k: f64[2 x {d}], %l: f64[2 x {d}], %v: f64[2 x 1], %w: f64[2 x 1]) {{
      {CONSTANTS}
      %c = cache {{heads = [2], key = f64[{d}], value = f64[1]}}
      %d = cache {{heads = [2], key = f64[{d}], value = f64[1]}}
      {chr(10).join(order)}
      return {", ".join("%" + name for name in returned)}
    }}"""
    steps = draw(st.integers(0, 4))
    arrays = {name: integers(draw, steps, 2, d if name in "qkl" else 1) for name in "qklvw"}
    return text, arrays


@st.composite
def arithmetic(draw):
    """`(text, arrays)` of a graph of elementwise ops and ops that move elements, with constants among its operands."""
    types = {"x": (2, 3), "y": (2, 3), "z": (1, 3)}
    lines = []
    literals = ["0", "-0.0", "1", "2", "0.1", "-1.5", "1e308", "inf", "nan"]
    for number in range(2):
        values = draw(st.lists(st.sampled_from(literals), min_size=3, max_size=3))
        shown = values[:1] if draw(st.booleans()) else values
        lines.append(f"%c{number} = constant {{type = f64[1 x 3], values = [{', '.join(shown)}]}}")
        types[f"c{number}"] = (1, 3)
    for number in range(draw(st.integers(1, 8))):
        kind = draw(
            st.sampled_from(["neg", "two", "two", "slice", "concat", "broadcast", "convert", "select"])
        )
        name, x = f"t{number}", draw(st.sampled_from(sorted(types)))
        rows, width = types[x]
        if kind == "neg":
            line = f"neg %{x}"
        elif kind == "two":
            fits = [n for n, (r, w) in types.items() if w == width and (r == rows or 1 in (r, rows))]
            y = draw(st.sampled_from(sorted(fits)))
            line = f"{draw(st.sampled_from(['add', 'sub', 'mul', 'div', 'min', 'max']))} %{x}, %{y}"
            rows = max(rows, types[y][0])
        elif kind == "slice":
            start = draw(st.integers(0, width - 1)) if width else 0
            stop = draw(st.integers(start, width))
            line = f"slice %{x} {{start = {start}, stop = {stop}}}"
            width = stop - start
        elif kind == "concat":
            y = draw(st.sampled_from(sorted(n for n, (r, _) in types.items() if r == rows)))
            line = draw(st.sampled_from([f"concat %{x}, %{y}", f"concat %{x}"]))
            width += types[y][1] if "," in line else 0
        elif kind == "broadcast":
            rows = draw(st.sampled_from([rows, 2])) if rows == 1 else rows
            line = f"broadcast %{x} {{shape = [{rows} x {width}]}}"
        elif kind == "convert":
            lines.append(
                f"%n{number} = convert %{x} {{to = {draw(st.sampled_from(['f32', 'f64', 'i64', 'bool']))}}}"
            )
            line = f"convert %n{number} {{to = f64}}"
        else:
            y = draw(
                st.sampled_from(sorted(n for n, (r, w) in types.items() if w == width and r in (1, rows)))
            )
            lines.append(f"%b{number} = lt %{x}, %{y}")
            line = f"select %b{number}, %{x}, %{draw(st.sampled_from([x, y]))}"
        lines.append(f"%{name} = {line}")
        types[name] = (rows, width)
    returned = draw(st.lists(st.sampled_from(sorted(types)), min_size=1, max_size=3))
    outputs = ", ".join(f"%{name}" for name in returned)
    body = "\n".join(lines)
    text = f"graph @g(%x: f64[2 x 3], %y: f64[2 x 3], %z: f64[1 x 3]) {{\n{body}\nreturn {outputs}\n}}"
    elements = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.5, 0.1, np.inf, -np.inf, np.nan])
    arrays = {
        name: np.array(draw(st.lists(elements, min_size=r * 3, max_size=r * 3))).reshape(r, 3)
        for name, r in (("x", 2), ("y", 2), ("z", 1))
    }
    return text, arrays
