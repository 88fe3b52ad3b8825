"""What measuring a case gave, as results by measure. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.errors import ConvbenchError, NotDefinedError, UsageError
from convbench.registry import Kind
from convbench.source import Source
from convbench.text import once_a_kind
from convbench.workers.pool import Failure

if TYPE_CHECKING:
    from convbench.measures.latency.result import Latency, Ratio

_TITLES = {"erf": "ERF"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a case turned out to be once its target was imported.

    name, kind: as tables print them. options: the effective ones, as JSON can hold them. inputs: arguments
    of the call, written as `convbench.inputs` says. dtype: of the module, once it is built.
    input_grad: whether the backward pass computes the input's gradient; None without gradients.
    """

    name: str
    kind: Kind
    options: Mapping[str, Any]
    inputs: str
    device_name: str
    torch_version: str
    dtype: str | None
    input_grad: bool | None = None


@dataclass(slots=True)
class Outcome:
    """What one case gave: the result of each measure that was taken, and why the others were not.

    label: that tells it from the others that were measured with it.
    identity: None where the target could not even be imported. results: by measure.
    ratio: latency over that of ``baseline``, where several cases were timed.
    problem: ``(status, reason)`` of the first measure that failed; refusal: what was wrong with the request, if that.
    runs: whether the target took its input. source: of the target's code, where it was asked for.
    seconds: that each step took.
    """

    case: Case
    label: str = ""
    identity: Identity | None = None
    results: dict[str, Any] = field(default_factory=dict)
    ratio: Ratio | None = None
    baseline: str | None = None
    problem: tuple[str, str] | None = None
    refusal: UsageError | None = None
    runs: bool = False
    source: Source | None = None
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that tables print."""
        return self.label or (self.identity.name if self.identity is not None else self.case.target)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know, said once a kind: what stood in for what, doubts, what is missing."""
        found = list(self.notes)
        for name, attribute in (("erf", "warnings"), ("latency", "notes"), ("memory", "notes")):
            said = getattr(self.results.get(name), attribute, ())
            found += [f"{_TITLES.get(name, name)}: {message}" for message in said]
        if self.ratio is not None and self.ratio.verdict_reason is not None:
            found.append(f"latency: {self.ratio.verdict_reason}")
        cost = self.results.get("cost")
        if cost is not None and cost.method == "real":
            found.append(f"cost: counted on a real run: {cost.reason}")
        return once_a_kind(found)

    def fail(self, measure: str, error: ConvbenchError) -> None:
        """Take over why a measure was not taken; the first reason is the outcome's problem."""
        failure = Failure.of(error)
        if isinstance(error, UsageError):
            self.refusal = self.refusal or error
        reason = failure.reason if failure.refused else f"{measure}: {failure.reason}"
        self.blame(failure.status, reason, is_note=isinstance(error, NotDefinedError) and bool(self.results))

    def blame(self, status: str, reason: str, *, is_note: bool = False) -> None:
        """Keep the first reason as the problem; any other, and a mere note, among the notes."""
        if self.problem is None and not is_note:
            self.problem = (status, reason)
        else:
            self.notes.append(reason)

    def adopt(self, latency: Latency, ratio: Ratio | None = None, baseline: str | None = None) -> None:
        """Take a latency over, and with it why it may be missing."""
        self.results["latency"], self.ratio, self.baseline = latency, ratio, baseline
        if latency.status != "ok":
            self.blame(latency.status, f"latency: {latency.error or latency.status}")
