"""The sorted sweep against inserting keys one by one: `sweep` and `hull` over the same unmasked batches.

    python benchmarks/sweep.py [--sizes 1e3,1e5] [--rounds 7] [--tie last]

One head, n keys, n queries and, in a second line, 16 n queries. Both outputs are compared bit for bit first.
Then both run in turn, in one process and on one thread each; medians are printed. `ratio` is how many times
as long the hull takes, `planned` what a plan of this size chooses.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import numpy.typing as npt
from harness import alternate, human

import attnc

SPEC = """graph @g(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 4]) {{
  %o = attend %q, %k, %v {{normalizer = hardmax({tie}){strategy}}}
  return %o
}}"""

Array = npt.NDArray[np.float64]


def keys_of(family: str, draw: np.random.Generator, count: int) -> Array:
    """`count` keys of a family."""
    place = draw.permutation(count).astype(np.float64)
    match family:
        case "normal":
            return draw.normal(size=(count, 2))
        case "circle":
            return np.stack([np.cos(place), np.sin(place)], axis=-1)
        case "parabola":
            return np.stack([2 * place, -place * place], axis=-1)
        case "positions":
            place.sort()
            return np.stack([2 * place, -place * place], axis=-1)
        case "integers":
            return draw.integers(-50, 51, (count, 2)).astype(np.float64)
        case _:
            return np.stack([place, 2 * place], axis=-1)


FAMILIES = ("normal", "circle", "parabola", "positions", "integers", "line")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--sizes", type=lambda t: [int(float(x)) for x in t.split(",")], default=[10**3, 10**4, 10**5]
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tie", choices=["first", "last", "mean"], default="last")
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    programs = {
        name: attnc.compile(SPEC.format(tie=options.tie, strategy=f", strategy = {name}"))
        for name in ("hull", "sweep")
    }
    free = SPEC.format(tie=options.tie, strategy="")
    print("keys            n  queries        hull       sweep  ratio  planned")
    for count in options.sizes:
        for queries in (count, 16 * count):
            plan = attnc.compile(free, backend="numpy", sizes={"N": queries, "M": count}).plan
            for family in FAMILIES:
                keys = keys_of(family, draw, count)
                direction = draw.normal(size=(queries, 2))
                if family in ("parabola", "positions"):
                    direction = np.stack([draw.random(queries) * count, np.ones(queries)], axis=-1)
                arrays = {"q": direction, "k": keys, "v": draw.normal(size=(count, 4))}
                outputs = {name: program.run("g", arrays, threads=1) for name, program in programs.items()}
                one, other = (np.asarray(output).tobytes() for output in outputs.values())
                assert one == other, family
                runs = {n: partial(p.run, "g", arrays, threads=1) for n, p in programs.items()}
                timings = alternate(runs, rounds=options.rounds)
                hull, swept = timings["hull"].median, timings["sweep"].median
                print(
                    f"{family:9} {count:8} {queries:8} {human(hull):>11} {human(swept):>11} "
                    f"{hull / swept:6.2f}  {plan.node('o').chosen.strategy}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
