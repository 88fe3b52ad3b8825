"""The clocks on a real CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convbench.case import Case
from convbench.execution.device import Device
from convbench.measures.latency.timing.accelerator import capture, graph_clock, host_clock
from convbench.measures.latency.timing.calls import make_call
from convbench.measures.latency.timing.gpu import Watch
from convbench.measures.latency.timing.job import run
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.result import ProcessTiming
from convbench.target.blueprint import make_subject
from convbench.target.packed import Packed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def median_ms(clock: object, call: object, samples: int = 100) -> float:
    for _ in range(samples):
        clock.sample(call, 1)  # type: ignore[attr-defined]
    return float(np.median([sample.wall_ns for sample in clock.collect()])) / 1e6  # type: ignore[attr-defined]


def test_a_block_of_many_small_kernels_is_launch_bound() -> None:
    x = torch.randn(1024, device="cuda")

    def call() -> torch.Tensor:
        y = x
        for _ in range(50):
            y = y + 1
        return y

    eager = median_ms(host_clock("cuda", "warm"), call)
    device = median_ms(graph_clock("cuda", "warm"), capture(call, torch.inference_mode, "cuda"))
    assert eager > 1.2 * device


def test_a_large_product_takes_the_same_either_way() -> None:
    a = torch.randn(4096, 4096, device="cuda")
    eager = median_ms(host_clock("cuda", "warm"), lambda: a @ a)
    device = median_ms(graph_clock("cuda", "warm"), capture(lambda: a @ a, torch.inference_mode, "cuda"))
    assert eager == pytest.approx(device, rel=0.1)


def test_a_flushed_cache_makes_a_small_read_slower() -> None:
    x = torch.randn(1_000_000, device="cuda")
    cold, warm = (
        median_ms(graph_clock("cuda", cache), capture(x.sum, torch.inference_mode, "cuda"))
        for cache in ("cold", "warm")
    )
    assert cold > warm


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_job_gives_both_columns(mode: str) -> None:
    case = Case("MRFA", dim=32, size=28, device="cuda", mode=mode)  # type: ignore[arg-type]
    order = Order({0: Packed(case)}, 0, 1, 5.0, 0.05, 0.05, 0, "cold", True, None)
    timing = ProcessTiming.from_json(run(order.to_request(), lambda _: None))
    target = timing.targets[0]
    assert target.status == "ok", target.error
    assert target.eager is not None
    assert target.device is not None, target.notes
    assert target.device.median_ms.centre <= 1.05 * target.eager.median_ms.centre
    assert target.kernels


def test_replayed_training_steps_give_the_gradients_of_eager_ones() -> None:
    subject = make_subject(Case("MRFA", dim=32, size=28, device="cuda", mode="training"))
    call, guard = make_call(subject)
    with guard():
        call()
    expected = [parameter.grad.clone() for parameter in subject.module.parameters() if parameter.grad is not None]
    capture(call, guard, "cuda")()
    torch.cuda.synchronize()
    found = [parameter.grad for parameter in subject.module.parameters() if parameter.grad is not None]
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_watch_reads_a_clock_or_says_why_not() -> None:
    watch = Watch.of(Device("cuda:0"))
    watch.chunk_is_trusted()
    assert any("clock" in note for note in watch.notes())
