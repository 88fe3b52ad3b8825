"""What a worker is asked to time. Imports no torch, so that a parent that only asks stays light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from convbench.target.packed import Packed

Cache = Literal["cold", "warm"]

JOB = "convbench.measures.latency.timing.job:run"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is asked to do.

    cases: by their index in the comparison, the baseline first. baseline: its index, or None where it has failed:
    then the first case has the control, and there are no ratios.
    budget_s: time for one block in this process after its warm-up; the control is not counted as a block.
    shuffled: whether to build the cases in random order instead of the baseline and its control first.
    eager_only: targets that could not be captured as a graph in an earlier process, and why.
    precision, margin: as in `convbench.measures.latency.LatencySettings`, widened for one process of several.
    """

    cases: Mapping[int, Packed]
    baseline: int | None
    threads: int
    budget_s: float
    precision: float
    margin: float
    seed: int
    cache: Cache
    kernels: bool
    beacon: Path | None
    shuffled: bool = False
    eager_only: Mapping[int, str] = field(default_factory=dict)

    def to_request(self) -> dict[str, Any]:
        """The request that a worker answers with `run`."""
        return {
            "do": JOB,
            "cases": [[index, case.to_json()] for index, case in self.cases.items()],
            "baseline": self.baseline,
            "threads": self.threads,
            "budget_s": self.budget_s,
            "precision": self.precision,
            "margin": self.margin,
            "seed": self.seed,
            "cache": self.cache,
            "kernels": self.kernels,
            "shuffled": self.shuffled,
            "eager_only": [[index, why] for index, why in self.eager_only.items()],
            "beacon": None if self.beacon is None else str(self.beacon),
        }

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> Order:
        """The order that `to_request` described."""
        row = {key: value for key, value in request.items() if key != "do"}
        row["cases"] = {index: Packed.from_json(case) for index, case in request["cases"]}
        row["eager_only"] = dict(request["eager_only"])
        row["beacon"] = None if request["beacon"] is None else Path(request["beacon"])
        return cls(**row)
