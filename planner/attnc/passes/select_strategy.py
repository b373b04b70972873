"""`select-strategy`: for each attention node, ask every strategy whether it may and what it would cost, and
take the cheapest.

Nodes that read one cache are decided together: what a cache needs for a strategy (the insertion into its
hull, say) is paid once for all nodes that use it. What lost stays in the plan, with its cost or with every
reason why it may not be used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from typing import ClassVar

from attnc.facts import Facts, analyze
from attnc.machine import Machine, load_machine
from attnc.passes.base import SIZE, WORD_OPTION, Context, Pass, option, register_pass, size_hints
from attnc.plan import CachePlan, Candidate, Cost, NodePlan
from attnc.strategies import Judge, Sizes, judge_of, judges
from attnc_ir.attributes.normalizer import NORMALIZER
from attnc_ir.attributes.strategy import Strategy
from attnc_ir.diagnostics import Report
from attnc_ir.errors import PlanError
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import suggest
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import format_shape


@register_pass
@dataclass(frozen=True)
class SelectStrategy(Pass):
    """Set the `strategy` of every attention node, and record why.

    `machine` names the profile to reckon with (default: this host's, else the built-in one). `strategy`
    forces one for all nodes. A node that names its strategy in the text keeps it. Costs need sizes:
    `N=65536` gives one to dimension `N`, or to the length of a cache called so; whatever is left open is
    `assume`d.

    Raises `PlanError` with every reason when a strategy that was asked for is not legal, or a size hint
    names nothing.
    """

    name: ClassVar[str] = "select-strategy"
    machine: str = option(WORD_OPTION, "")
    strategy: str = option(WORD_OPTION, "")
    assume: int = option(SIZE, 1024)
    sizes: tuple[tuple[str, int], ...] = size_hints()

    def run(self, graph: Graph, context: Context) -> Graph:
        self._check_hints(context.module)
        machine = load_machine(self.machine or None)
        context.machine = machine.describe() + (f"; {machine.note}" if machine.note else "")
        context.nodes[:] = [n for n in context.nodes if n.graph != graph.name]
        context.caches[:] = [c for c in context.caches if c.graph != graph.name]

        facts = analyze(graph)
        roots = {name: cache.results[0].name for name, cache in graph.cache_roots().items()}
        forced = judge_of(self.strategy) if self.strategy else None
        report = Report(context.module.text)
        questions = [
            self._asked(op, facts, machine, roots, forced, report)
            for op in graph.ops
            if isinstance(op, AttentionOp)
        ]
        if not report.ok:
            raise PlanError("\n".join(d.render() for d in report.diagnostics))

        chosen: dict[str, Judge] = {}
        for group in _grouped(questions):
            chosen.update(_assigned(group))
        decided = {
            q.node.output.name: self._strategy(q, chosen[q.node.output.name], facts) for q in questions
        }
        for question in questions:
            judge = chosen[question.node.output.name]
            context.count(f"chose-{judge.keyword}")
            context.nodes.append(_node_plan(question, judge, graph, context, facts))
        context.caches += _cache_plans(graph, roots, questions, chosen)
        ops = tuple(
            dataclasses.replace(op, strategy=decided[op.output.name]) if isinstance(op, AttentionOp) else op
            for op in graph.ops
        )
        return dataclasses.replace(graph, ops=ops) if questions else graph

    def _check_hints(self, module: Module) -> None:
        known = {symbol.name for graph in module for symbol in graph.symbols()}
        known |= {cache.results[0].name for graph in module for cache in graph.caches}
        for name, _ in self.sizes:
            if name not in known:
                there = suggest(name, sorted(known)) if known else "every size is a number"
                raise PlanError(
                    f"select-strategy: {name!r:.80} is no option (machine, strategy, assume), "
                    f"and no dimension or cache is called so; {there}"
                )

    def _asked(
        self,
        node: AttentionOp,
        facts: Facts,
        machine: Machine,
        roots: Mapping[str, str],
        forced: Judge | None,
        report: Report,
    ) -> _Question:
        """What every judge says about a node; an illegal wish goes into the report."""
        sizes = Sizes(dict(self.sizes), self.assume)
        cache = roots[node.cache.name] if isinstance(node, AttendStep) else None
        keys = node.geometry.keys
        if cache is not None:
            length = sizes.rows(cache)
        else:
            assert keys is not None, "only steps have an open number of keys"
            length = sizes.length(keys)
        wanted = forced or (judge_of(type(node.strategy)) if node.strategy is not None else None)
        answers: dict[Judge, Cost | tuple[str, ...]] = {}
        for judge in judges():
            reasons = judge.why_not(node, facts)
            answers[judge] = reasons or judge.cost(node, facts, machine, sizes, length)
            if judge is wanted and reasons:
                report.error(
                    f"strategy {judge.keyword} is not legal for {node.output}: " + "; ".join(reasons),
                    node.place("strategy") if forced is None else node.location,
                    help="leave the strategy out, or force dense, which is always legal",
                )
        return _Question(node, cache, answers, wanted, tuple(sizes.used.values()))

    def _strategy(self, question: _Question, judge: Judge, facts: Facts) -> Strategy:
        written = question.node.strategy
        return (
            written
            if written is not None and type(written) is judge.noun
            else judge.choose(question.node, facts)
        )


@dataclass(frozen=True)
class _Question:
    """A node, and for every judge either what it would cost or why it may not."""

    node: AttentionOp
    cache: str | None
    answers: Mapping[Judge, Cost | tuple[str, ...]]
    wanted: Judge | None
    assumptions: tuple[str, ...]

    @property
    def legal(self) -> dict[Judge, Cost]:
        """What there is to choose from."""
        costs = {judge: a for judge, a in self.answers.items() if isinstance(a, Cost)}
        return (
            {self.wanted: costs[self.wanted]} if self.wanted is not None and self.wanted in costs else costs
        )


def _grouped(questions: Iterable[_Question]) -> list[list[_Question]]:
    """Nodes whose choices interact, together: the readers of a cache. A stateless node stands alone."""
    groups: dict[str, list[_Question]] = {}
    for question in questions:
        groups.setdefault(question.cache or f"node {question.node.output.name}", []).append(question)
    return list(groups.values())


def _assigned(group: list[_Question]) -> dict[str, Judge]:
    """The cheapest choice for nodes that share a cache.

    Once it is settled which strategies the cache keeps up, each node takes its cheapest among them; so
    every set of strategies is tried. There are few. Of equally cheap choices the first one registered is
    taken, which is dense.
    """
    everyone = list(dict.fromkeys(judge for question in group for judge in question.legal))
    best: tuple[float, dict[str, Judge]] | None = None
    for allowed in chain.from_iterable(combinations(everyone, n) for n in range(1, len(everyone) + 1)):
        picks: dict[str, Judge] = {}
        upkeep: dict[Judge, float] = {}
        total = 0.0
        for question in group:
            costs = {judge: cost for judge, cost in question.legal.items() if judge in allowed}
            if not costs:
                break
            judge = min(costs, key=lambda j: costs[j].own)
            picks[question.node.output.name] = judge
            total += costs[judge].own
            upkeep[judge] = max(upkeep.get(judge, 0.0), costs[judge].shared)
        else:
            total += sum(upkeep.values())
            if best is None or total < best[0]:
                best = total, picks
    assert best is not None, "the set of all strategies serves every node"
    return best[1]


# --- the record ---------------------------------------------------------------------------------------------


def _node_plan(question: _Question, chosen: Judge, graph: Graph, context: Context, facts: Facts) -> NodePlan:
    candidates = tuple(
        Candidate(judge.keyword, answer, (), judge is chosen)
        if isinstance(answer, Cost)
        else Candidate(judge.keyword, None, answer)
        for judge, answer in question.answers.items()
    )
    node = question.node
    notes = list(context.notes.get((graph.name, node.output.name), []))
    if question.wanted is not None:
        notes.append(f"strategy {chosen.keyword} was asked for, so costs did not decide")
    return NodePlan(
        graph=graph.name,
        result=node.output.name,
        title=_title(node, question.cache),
        candidates=candidates,
        location=node.location,
        cache=question.cache,
        assumptions=question.assumptions,
        notes=tuple(notes),
        facts=tuple(dict.fromkeys(s for fact in chosen.grounds(node, facts) for s in facts.chain(fact))),
    )


def _title(node: AttentionOp, cache: str | None) -> str:
    g = node.geometry
    heads = [str(d) for d in (g.batch, g.query_heads) if d != 1]
    lead = f"{' x '.join(heads)} heads, " if heads else ""
    what = f"1 query against %{cache}" if cache is not None else f"{g.queries} queries x {g.keys} keys"
    return f"{lead}{what}, width {g.key_width}, {NORMALIZER.write(node.normalizer)}"


def _cache_plans(
    graph: Graph, roots: Mapping[str, str], questions: list[_Question], chosen: Mapping[str, Judge]
) -> Iterable[CachePlan]:
    for cache in graph.caches:
        name = cache.results[0].name
        readers = [q for q in questions if q.cache == name]
        structures = dict.fromkeys(
            judge.keyword for q in readers if (judge := chosen[q.node.output.name]).keeps_structure
        )
        yield CachePlan(
            graph=graph.name,
            cache=name,
            title=f"{format_shape(cache.heads)} heads, {cache.key} keys, {cache.value} values",
            keeps=("rows", *structures),
            readers=tuple(q.node.output.name for q in readers),
            location=cache.location,
        )
