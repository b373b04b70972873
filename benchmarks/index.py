"""The index against the hull: a memory read by address, where addresses are written again and again.

    python benchmarks/index.py [--counts 1e3,1e5,1e6]

Each step appends the key of one address and asks for another. Both strategies step the same streams through
one compiled graph each, in turn and in one process, after their answers have been compared. Medians over
rounds are printed, in nanoseconds a step: what the graph does besides (it computes keys from addresses) is in
them, making a state is not.

- `rewritten`: addresses drawn anew from n / 8 neighbouring ones; queries for addresses that were drawn
- `between`: the same, but queries lie halfway between two addresses, or between two and the next
- `growing`: addresses 0, 1, 2, ... in order; queries for earlier ones
- `sparse`: addresses drawn from 2**27; few are met again
- `cleared`: rewritten, and one key in ten is pushed out of reach, off the parabola
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from harness import alternate

import attnc

SPEC = """graph @memory(%q: f64[2], %a: i32[1], %z: f64[1], %v: f64[1]) {{
  %c = cache {{heads = [], key = f64[2], value = f64[1]}}
  %x = convert %a {{to = f64}}
  %line = add %x, %x
  %square = mul %x, %x
  %curve = sub %z, %square
  %k = concat %line, %curve
  %d = append %c, %k, %v
  %o = attend.step %q, %d {{normalizer = hardmax({tie})}}
  return %o
}}"""

Arrays = dict[str, np.ndarray]


def streams(n: int) -> dict[str, Arrays]:
    """The inputs of n steps, by name of the stream."""
    draw = np.random.default_rng(n)
    few = draw.integers(0, max(n // 8, 2), n)
    sparse = draw.integers(-(2**26), 2**26, n)
    asked = {
        "rewritten": (few, draw.permutation(few).astype("f8")),
        "between": (few, draw.permutation(few) + draw.choice([0.25, 0.5, 0.75], n)),
        "growing": (np.arange(n), draw.integers(0, np.arange(n) + 1).astype("f8")),
        "sparse": (sparse, draw.permutation(sparse).astype("f8")),
        "cleared": (few, draw.permutation(few).astype("f8")),
    }
    values = draw.integers(0, 1000, (n, 1)).astype("f8")
    cleared = np.where(draw.random((n, 1)) < 0.1, -1e18, 0.0)
    return {
        name: {
            "q": np.stack([query, np.ones(n)], axis=-1),
            "a": address[:, None].astype("i4"),
            "z": cleared if name == "cleared" else np.zeros((n, 1)),
            "v": values,
        }
        for name, (address, query) in asked.items()
    }


def main() -> None:
    """Print one line for each stream, length and tie rule."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--counts", type=lambda t: [int(float(x)) for x in t.split(",")], default=[10**3, 10**5]
    )
    parser.add_argument("--ties", type=lambda t: t.split(","), default=["last", "mean"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("stream     tie         n   index ns    hull ns  hull/index")
    for tie in options.ties:
        programs = {name: attnc.compile(SPEC.format(tie=tie), strategy=name) for name in ("index", "hull")}
        for n in options.counts:
            for stream, arrays in streams(n).items():
                states = {name: program.state() for name, program in programs.items()}
                answers = [program.extend(states[name], **arrays) for name, program in programs.items()]
                assert np.array_equal(*answers), f"{stream}: the two differ"

                def steps(program: attnc.Program, state: attnc.State, arrays: Arrays = arrays) -> None:
                    state.truncate(0)
                    program.extend(state, **arrays)

                runs = {name: partial(steps, programs[name], states[name]) for name in programs}
                # A short run that loses its turn on a busy machine is far off, so there are many.
                taken = alternate(runs, rounds=max(options.rounds, min(200, 10**6 // n)))
                index, hull = (taken[name].median / n * 1e9 for name in ("index", "hull"))
                ratio = hull / index
                print(f"{stream:9} {tie:>5} {n:9} {index:10.1f} {hull:10.1f} {ratio:11.2f}", flush=True)


if __name__ == "__main__":
    main()
