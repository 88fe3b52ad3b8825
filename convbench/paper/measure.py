"""Measuring what was published: on the meta device, where nothing is computed and no weights are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from convbench.case import Case
from convbench.errors import ConvbenchError
from convbench.paper.conventions import find_convention
from convbench.paper.figures import Published
from convbench.paper.result import Comparison, judge
from convbench.workers.pool import Answer
from convbench.workers.worker import Send

Ask = Callable[[Mapping[str, Any]], Answer]


def compare_published(figures: Sequence[Published], ask: Ask) -> Iterator[Comparison]:
    """One comparison a figure, as each is done; figures about the same network are measured once.

    ask: sends a request to a worker. A target that cannot be built or counted is a comparison with an ``error``.
    """
    known: dict[tuple[str, str], Answer] = {}
    for figure in figures:
        try:
            case = Case(figure.target, options=figure.options, size=figure.resolution, device="meta")
            find_convention(figure.convention)
        except ConvbenchError as error:
            yield Comparison(figure, error=str(error))
            continue
        key = (case.key, figure.convention)
        if key not in known:
            request = {"do": "convbench.paper.measure:run", "case": case.to_json(), "convention": figure.convention}
            known[key] = ask(request)
        answer = known[key]
        if answer.failure is not None:
            yield Comparison(figure, error=answer.failure.reason)
        else:
            yield _compare(figure, *answer.value)


def run(request: Mapping[str, Any], _send: Send) -> tuple[int, int]:
    """The worker's job: parameters of ``case``, and the cost of one image in the convention."""
    from convbench.measures.params import measure_params
    from convbench.target.blueprint import make_subject

    subject = make_subject(Case.from_json(request["case"]))
    return measure_params(subject.module).params, find_convention(request["convention"])(subject)


def _compare(figure: Published, params: int, cost: int) -> Comparison:
    explained = bool(figure.explanation)
    return Comparison(
        figure,
        None if figure.params_m is None else judge(figure.params_m, params / 1e6, explained=explained),
        None if figure.gmacs is None else judge(figure.gmacs, cost / 1e9, explained=explained),
    )
