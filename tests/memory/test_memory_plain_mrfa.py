"""The figures that were counted by hand for MRFA 64 at 256²."""

from __future__ import annotations

import pytest
import torch

from convbench.case import Case
from convbench.measures.memory import measure_memory
from convbench.target.blueprint import Subject
from tests.memory.plain_mrfa import PlainMRFA

MIB = 2**20


def subject(mode: str, device: str) -> Subject:
    case = Case("tests.memory.plain_mrfa:PlainMRFA", shapes=((1, 64, 256, 256),), mode=mode, device=device)  # type: ignore[arg-type]
    module = PlainMRFA(64).to(device).train(mode == "training")
    return Subject(case, "PlainMRFA", "block", {}, module, (torch.empty(1, 64, 256, 256, device=device),))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inference_peaks_at_112_5_mib_above_the_weights(device: str) -> None:
    memory = measure_memory(subject("inference", device), high_water=False)
    assert memory.above_weights_bytes == 112.5 * MIB
    assert memory.saved_for_backward_bytes is None


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_training_step_peaks_at_332_75_mib_and_saves_276_75(device: str) -> None:
    memory = measure_memory(subject("training", device), high_water=False)
    assert memory.above_weights_bytes == 332.75 * MIB
    assert memory.saved_for_backward_bytes == 276.75 * MIB
    assert memory.forward_peak_bytes == memory.peak_bytes > (memory.backward_peak_bytes or 0)
