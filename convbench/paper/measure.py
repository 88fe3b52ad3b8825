"""Measuring what was published: on the meta device, where nothing is computed and no weights are held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convbench.case import Case
from convbench.errors import ConvbenchError
from convbench.paper.conventions import find_convention
from convbench.paper.figures import Published
from convbench.paper.result import Comparison, judge


def compare_published(figures: Sequence[Published]) -> Iterator[Comparison]:
    """One comparison a figure, as each is done; figures about the same network are measured once.

    A target that cannot be built or counted here is a comparison with an ``error``.
    """
    known: dict[tuple[str, str], tuple[int, int]] = {}
    for figure in figures:
        case = Case(figure.target, options=figure.options, size=figure.resolution, device="meta")
        try:
            key = (case.key, figure.convention)
            params, cost = known[key] if key in known else known.setdefault(key, _measure(case, figure.convention))
        except ConvbenchError as error:
            yield Comparison(figure, error=str(error))
        except Exception as error:  # the target's own code runs here and may fail in any way
            yield Comparison(figure, error=f"{type(error).__name__}: {error}")
        else:
            yield _compare(figure, params, cost)


def _measure(case: Case, convention: str) -> tuple[int, int]:
    """Parameters, and the cost of one image in the convention."""
    from convbench.measures.params import measure_params
    from convbench.target.blueprint import make_subject

    count = find_convention(convention)
    subject = make_subject(case)
    return measure_params(subject.module).params, count(subject)


def _compare(figure: Published, params: int, cost: int) -> Comparison:
    explained = bool(figure.explanation)
    return Comparison(
        figure,
        None if figure.params_m is None else judge(figure.params_m, params / 1e6, explained=explained),
        None if figure.gmacs is None else judge(figure.gmacs, cost / 1e9, explained=explained),
    )
