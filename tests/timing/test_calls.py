"""What one call does in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.measures.latency.timing.calls import make_call
from convbench.target.blueprint import Subject, make_subject

TARGETS = Path(__file__).parent / "targets.py"


def subject(name: str = "Plain", **conditions: object) -> Subject:
    return make_subject(Case(f"{TARGETS}:{name}", dim=8, size=6, **conditions))  # type: ignore[arg-type]


def test_inference_records_no_gradients() -> None:
    call, guard = make_call(subject())
    with guard():
        output = call()
    assert isinstance(output, torch.Tensor)
    assert output.is_inference()
    assert output.shape == (1, 8, 6, 6)


def test_forward_with_gradients_records_them_and_has_none() -> None:
    one = subject(mode="forward")
    call, guard = make_call(one)
    with guard():
        output = call()
    assert isinstance(output, torch.Tensor)
    assert output.grad_fn is not None
    assert one.module.training
    assert one.args[0].requires_grad
    assert all(parameter.grad is None for parameter in one.module.parameters())


def test_a_training_step_has_the_gradients_of_one_backward_however_often_it_runs() -> None:
    one = subject(mode="training")
    call, guard = make_call(one)
    with guard():
        for _ in range(3):
            call()
    module, (x,) = one.module, one.args
    expected = torch.autograd.grad(module(x).sum(), [x, *module.parameters()])
    for leaf, gradient in zip([x, *module.parameters()], expected, strict=True):
        torch.testing.assert_close(leaf.grad, gradient)


def test_a_training_step_without_input_gradient_computes_none() -> None:
    one = subject(mode="training", input_grad=False)
    call, guard = make_call(one)
    with guard():
        call()
    assert one.args[0].grad is None
    assert all(parameter.grad is not None for parameter in one.module.parameters())


def test_only_differentiable_outputs_are_backpropagated() -> None:
    one = subject("TwoOutputs", mode="training")
    call, guard = make_call(one)
    with guard():
        call()
    assert torch.equal(one.args[0].grad, torch.full((1, 8, 6, 6), 2.0))  # type: ignore[arg-type]


def test_a_training_step_of_nothing_is_an_error() -> None:
    one = make_subject(Case(f"{TARGETS}:NoGradient", shapes=((1, 3),), mode="training"))
    call, guard = make_call(one)
    with guard(), pytest.raises(MeasurementError, match="depends on a parameter"):
        call()


def test_autocast_is_entered_in_every_call() -> None:
    one = subject(autocast="bfloat16")
    call, guard = make_call(one)
    with guard():
        output = call()
        assert not torch.is_autocast_enabled("cpu")
    assert isinstance(output, torch.Tensor)
    assert output.dtype == torch.bfloat16


def test_channels_last_reaches_the_call() -> None:
    one = subject(memory_format="channels_last")
    call, guard = make_call(one)
    with guard():
        output = call()
    assert isinstance(output, torch.Tensor)
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_call_goes_through_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    one = subject(execution="compiled")
    call, guard = make_call(one)
    with guard():
        call()
    assert compiled == [one.module]
