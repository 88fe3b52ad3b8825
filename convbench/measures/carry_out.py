"""Carrying out cases: every measure asked for, each failure a record, nothing measured ever lost. Imports no torch.

The target's code runs in workers alone: one that builds a case and takes its measures, and those that time it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cloudpickle

from convbench.case import Case
from convbench.errors import CaseTimeout, ConvbenchError, MeasurementError
from convbench.measures.outcome import Identity, Outcome
from convbench.measures.table import MEASURES, Plan, find
from convbench.reference import labels
from convbench.registry import target_name
from convbench.source import Source
from convbench.target.packed import Packed, pack
from convbench.workers.codec import decode
from convbench.workers.device_lock import device_lock, physical_device
from convbench.workers.process import Worker, WorkerCrash, WorkerTimeout
from convbench.workers.protocol import described

if TYPE_CHECKING:
    from convbench.measures.latency.pool import Pool

Tell = Callable[[str], None]

_JOB = "convbench.measures.job"
_START_S = 600.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``outcomes`` holds what was complete."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("interrupted")
        self.outcomes = list(outcomes)


class Measurer:
    """Measures cases, one or several side by side; a context manager, which ends its processes.

    tell: gets a line on what is being done. blameless: signals that come from outside: a worker that dies of one raises
    WorkerCrash, for it is not the target's fault. limit_s: longest time for a case in all; None: no limit.
    describes: whether `environment` is filled, and outcomes say where their target's code comes from.
    """

    def __init__(
        self,
        tell: Tell = lambda _: None,
        *,
        blameless: Collection[int] = (),
        limit_s: float | None = None,
        describes: bool = False,
    ) -> None:
        self._tell = tell
        self._blameless = frozenset(blameless)
        self._limit_s = limit_s
        self._describes = describes
        self.environment: dict[str, Any] = {}
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._worker: Worker | None = None
        self._pool: Pool | None = None
        self._killed = False

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._worker is not None:
            self._worker.close()
        self._stack.close()

    def kill(self) -> None:
        """End the processes at once, from any thread; whoever waits for them gets KeyboardInterrupt."""
        self._killed = True
        for process in (self._worker, self._pool):
            if process is not None:
                process.kill()

    def start(self) -> None:
        """Have a worker import what it needs while the caller does other things."""
        if self._killed:
            raise KeyboardInterrupt
        if self._worker is None or not self._worker.alive:
            if self._worker is not None:
                self._worker.close()
            self._worker = Worker()
            self._worker.prepare(f"{_JOB}:run")

    def wait_ready(self) -> None:
        """Block until a worker can begin at once. Raises MeasurementError where none can be started."""
        self.start()
        assert self._worker is not None
        self._worker.wait_ready(_START_S)

    def carry_out(
        self, cases: Sequence[Case | Packed], plan: Plan, baseline: int = 0, note: Tell = lambda _: None
    ) -> list[Outcome]:
        """Measure ``cases``, with the device to themselves where the plan asks for that.

        What cannot be met is found out before a device is waited for. note: gets a line if it has to be waited for.
        Raises UsageError for a request that cannot be met by any case, and Interrupted with what was complete.
        """
        packed = [self._packed(case) for case in cases]
        self.start()
        deaths: list[ConvbenchError | None] = []

        def look() -> list[ConvbenchError | None]:
            deaths[:] = deaths or self.look_over(packed, plan.timeout_s)
            return deaths

        def wait(line: str) -> None:
            look()
            note(line)

        device = physical_device(packed[0].case.device)
        with device_lock(device, wait) if plan.needs_device_alone else nullcontext():
            outcomes = self.measure(packed, plan, baseline, look)
        refusals = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
        if len(refusals) == len(outcomes):
            raise refusals[0]
        return outcomes

    def look_over(
        self, cases: Sequence[Case | Packed], timeout_s: float | None, *, devices_here: bool = True, builds: bool = True
    ) -> list[ConvbenchError | None]:
        """Of each case, what ended the worker that only imported it (``builds``: and built it without computing).

        devices_here: whether its device must be on this machine.
        Raises the UsageError of the first that cannot be met. How else a case fails is left to measuring.
        """
        deaths: list[ConvbenchError | None] = [None] * len(cases)
        for index, case in enumerate(cases):
            asked = {"packed": self._packed(case).to_json(), "devices_here": devices_here, "builds": builds}
            try:
                self._ask({"do": f"{_JOB}:look_over", **asked}, timeout_s)
            except (WorkerCrash, WorkerTimeout) as error:
                deaths[index] = error
            except MeasurementError:
                continue
        return deaths

    def measure(
        self,
        cases: Sequence[Case | Packed],
        plan: Plan,
        baseline: int = 0,
        look: Callable[[], Sequence[ConvbenchError | None]] = list,
    ) -> list[Outcome]:
        """Measure ``cases`` on a device that the caller holds; latencies in the same rounds, as ratios to ``baseline``.

        A request that cannot be met is an outcome as well. look: called first; see `look_over`.
        Raises Interrupted with what was complete.
        """
        packed = [self._packed(case) for case in cases]
        called = labels([one.case for one in packed], [target_name(one.case.target) for one in packed])
        outcomes = [Outcome(one.case, name) for one, name in zip(packed, called, strict=True)]
        reached = 0
        begun = time.monotonic()
        try:
            with self._timing(packed, plan) as pool:
                deaths = look() or [None] * len(outcomes)
                if self._describes and not self.environment:
                    self.environment = self.describe([one.case for one in packed])
                for outcome, one, death in zip(outcomes, packed, deaths, strict=True):
                    if death is None:
                        self._in_worker(outcome, one, plan.in_worker(alone=False), plan, begun)
                    else:
                        outcome.fail("build", death)
                    reached += 1
                self._paired(outcomes, packed, baseline, plan, pool, begun)
            for outcome, one in zip(outcomes, packed, strict=True):
                if outcome.runs and (names := plan.in_worker(alone=True)):
                    self._in_worker(outcome, one, names, plan, begun)
        except KeyboardInterrupt:
            raise Interrupted(outcomes[: reached + 1]) from None
        return outcomes

    def measure_paired(self, outcomes: Sequence[Outcome], cases: Sequence[Packed], plan: Plan) -> None:
        """Add what is timed to ``outcomes``, on a device that the caller holds."""
        with self._timing(cases, plan) as pool:
            self._paired(outcomes, cases, 0, plan, pool, time.monotonic())

    def describe(self, cases: Sequence[Case] = ()) -> dict[str, Any]:
        """The environment of the worker. Raises MeasurementError where none can be started."""
        request = {"do": "convbench.environment:describe", "cases": [case.to_json() for case in cases]}
        found: dict[str, Any] = self._ask(request, _START_S)
        return found

    def _leave(self, device: str) -> None:
        """Have nothing of this command on an accelerator while others time there: no context, no weights, no cache."""
        if self._worker is not None and device.partition(":")[0] not in ("cpu", "meta"):
            self._worker.close()
            self._worker = None

    def _packed(self, case: Case | Packed) -> Packed:
        if isinstance(case, Packed):
            return case
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="convbench-")))
        return pack(case, self._folder)

    @contextmanager
    def _timing(self, cases: Sequence[Packed], plan: Plan) -> Iterator[Pool | None]:
        """The processes that will time: they come up side by side while the worker works."""
        helper = MEASURES["latency"].helper
        if "latency" not in plan.measures or len(cases) > 1 or helper is None:
            yield None
            return
        with find(helper)(cases[0].case, plan.settings.get("latency")) as self._pool:
            yield self._pool

    def _ask(
        self,
        request: Mapping[str, Any],
        timeout_s: float | None,
        hear: Callable[[Mapping[str, Any]], None] | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        try:
            self.wait_ready()
            assert self._worker is not None
            return self._worker.run(request, timeout_s=timeout_s, deadline_s=deadline_s, on_message=hear)
        except WorkerCrash:
            if self._killed:
                raise KeyboardInterrupt from None
            raise

    def _in_worker(self, outcome: Outcome, packed: Packed, names: Sequence[str], plan: Plan, begun: float) -> None:
        """Take ``names`` of one case; what ends the worker ends these measures, and what was there already stays."""
        heard = _Heard(outcome, self._tell)
        settings = {name: plan.settings[name] for name in names if name in plan.settings}
        request = {
            "do": f"{_JOB}:run",
            "packed": packed.to_json(),
            "measures": list(names),
            "settings": base64.b64encode(cloudpickle.dumps(settings)).decode("ascii"),
            "source": self._describes,
        }
        try:
            self._ask(request, plan.timeout_s, heard.hear, self._left_s(begun))
        except KeyboardInterrupt:
            outcome.blame("interrupted", f"{heard.doing}: interrupted")
            raise
        except ConvbenchError as error:
            if self._is_blameless(error):
                raise
            outcome.fail(heard.doing, self._overdue(begun) or error)
        finally:
            heard.end()

    def _is_blameless(self, error: ConvbenchError) -> bool:
        return isinstance(error, WorkerCrash) and -error.exit_code in self._blameless

    def _overdue(self, begun: float) -> CaseTimeout | None:
        if self._limit_s is None or time.monotonic() - begun < self._limit_s:
            return None
        return CaseTimeout(f"the case took longer than {self._limit_s:g} s and was stopped")

    def _left_s(self, begun: float) -> float | None:
        return None if self._limit_s is None else max(0.0, self._limit_s - (time.monotonic() - begun))

    def _paired(
        self,
        outcomes: Sequence[Outcome],
        cases: Sequence[Packed],
        baseline: int,
        plan: Plan,
        pool: Pool | None,
        begun: float,
    ) -> None:
        """Latencies of the cases in the same rounds, and, of several, their ratios; also what Ctrl-C left."""
        if "latency" not in plan.measures:
            return
        able = [index for index, outcome in enumerate(outcomes) if outcome.runs]
        if baseline not in able:
            for index in able:
                outcomes[index].notes.append("latency: not compared, because the baseline failed")
            return
        from convbench.measures.latency.result import LatencyInterrupted

        self._leave(cases[baseline].case.device)
        chosen = [outcomes[index] for index in able]
        since = time.monotonic()
        try:
            comparison = find(MEASURES["latency"].run)(
                [cases[index] for index in able],
                able.index(baseline),
                plan.settings.get("latency"),
                lambda state: self._tell(str(state)),
                pool,
                until=None if self._limit_s is None else begun + self._limit_s,
                blameless=self._blameless,
            )
        except LatencyInterrupted as stop:
            comparison = stop.partial
        except KeyboardInterrupt:
            for outcome in chosen:
                outcome.blame("interrupted", "latency: interrupted")
            raise
        except ConvbenchError as error:
            if self._is_blameless(error):
                raise
            for outcome in chosen:
                outcome.fail("latency", error)
            return
        finally:
            for outcome in chosen:
                outcome.seconds["latency"] = time.monotonic() - since
        name = outcomes[baseline].name
        for outcome, latency, ratio in zip(chosen, comparison.latencies, comparison.ratios, strict=True):
            outcome.adopt(latency, ratio, name if len(able) > 1 else None)
        outcomes[baseline].notes += [f"latency: {note}" for note in comparison.notes]
        if comparison.interrupted:
            raise KeyboardInterrupt


class _Heard:
    """Takes over what a worker says of one case. doing: the step that it is at."""

    def __init__(self, outcome: Outcome, tell: Tell) -> None:
        self.doing = "build"
        self._outcome = outcome
        self._tell = tell
        self._since = time.monotonic()

    def hear(self, message: Mapping[str, Any]) -> None:
        outcome = self._outcome
        if "doing" in message:
            self.end()
            self.doing = message["doing"]
            self._tell(f"{outcome.name}: {MEASURES[self.doing].doing if self.doing in MEASURES else self.doing}")
        elif "identity" in message:
            outcome.identity = decode(Identity, message["identity"])
        elif "source" in message:
            outcome.source = decode(Source, message["source"])
        elif "runs" in message:
            outcome.runs = True
        elif "error" in message:
            outcome.fail(message["name"], described(message["error"]))
        elif "result" in message:
            outcome.results[message["name"]] = decode(find(MEASURES[message["name"]].result), message["result"])

    def end(self) -> None:
        """Note how long the step took."""
        now = time.monotonic()
        self._outcome.seconds[self.doing] = self._outcome.seconds.get(self.doing, 0.0) + now - self._since
        self._since = now
