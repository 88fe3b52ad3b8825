"""Peaks, saved bytes and lifetimes counted by hand, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.execution.clone import clone, cloning
from convbench.execution.step import Step
from convbench.execution.tensors import How
from convbench.measures.memory import measure_memory
from convbench.measures.memory.trace import Trace, trace
from convbench.target.blueprint import Subject

PIXELS = 16  # of the 4×4 maps below
FLOAT = 4
SCALAR = FLOAT  # the loss; the gradient of the loss, which backward() makes, is as large


class Lambda(nn.Module):
    """A block without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def follow(module: nn.Module, *args: Tensor, mode: str = "inference", **kwargs: Any) -> Trace:
    """Trace ``module`` on real copies, and see that shapes alone give the same."""
    traces = []
    ways: tuple[How, ...] = ("real", "meta")
    for how in ways:
        with cloning(how) as cloner:
            step = Step(cloner.module(module), *cloner.arguments((args, kwargs)), mode)
            traces.append(trace(step.ask_for_input_gradients() if mode == "training" else step))
    assert traces[0] == traces[1]
    return traces[0]


def maps(channels: int) -> Tensor:
    """(1, channels, 4, 4)."""
    return torch.randn(1, channels, 4, 4)


def size(channels: int) -> int:
    """Bytes of `maps`."""
    return FLOAT * channels * PIXELS


def chain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 5, 1))


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """What meta tensors import on their first use leaves garbage behind that would be alive in the first trace."""
    with torch.device("meta"):
        module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.LayerNorm(2))
        module(torch.ones(1, 2, 4, 4)).sum().backward()


CHAIN_WEIGHTS = FLOAT * (3 * 2 * 9 + 3 + 5 * 3 + 5)


def test_a_chain_in_inference_holds_two_maps_and_its_input() -> None:
    found = follow(chain(), maps(2))
    assert (found.weights_bytes, found.input_bytes, found.output_bytes) == (CHAIN_WEIGHTS, size(2), size(5))
    conv, relu, last = size(2) + size(3), size(2) + size(3) + size(3), size(2) + size(3) + size(5)
    assert found.peak_bytes == found.forward_peak_bytes == CHAIN_WEIGHTS + max(conv, relu, last)
    assert found.saved_for_backward_bytes is found.gradients_bytes is found.backward_peak_bytes is None


def test_a_chain_in_training_keeps_the_inputs_of_its_convs() -> None:
    found = follow(chain(), maps(2), mode="training")
    # The ReLU's result is saved twice, by the ReLU and by the conv after it, on one storage.
    saved = size(2) + size(3)
    assert found.saved_for_backward_bytes == saved
    assert found.gradients_bytes == CHAIN_WEIGHTS + size(2)
    assert found.forward_peak_bytes == CHAIN_WEIGHTS + saved + size(5) + SCALAR
    # The ReLU's backward: the gradients of the last conv are there, that of its input is read, that of the ReLU's made.
    last_conv_gradients = FLOAT * (5 * 3 + 5)
    assert found.backward_peak_bytes == CHAIN_WEIGHTS + saved + 2 * SCALAR + last_conv_gradients + 2 * size(3)
    assert found.peak_bytes == found.backward_peak_bytes


def test_forward_with_gradients_saves_and_has_no_backward() -> None:
    found = follow(chain(), maps(2), mode="forward")
    assert found.saved_for_backward_bytes == size(2) + size(3)
    assert found.backward_peak_bytes is found.gradients_bytes is None


@pytest.mark.parametrize(
    ("function", "above_input"),
    [
        (lambda x: x.chunk(2, dim=1)[0].permute(0, 2, 3, 1)[..., :1].squeeze(0), 0),
        (lambda x: x.expand(7, -1, -1, -1), 0),
        (lambda x: x.detach().view(-1), 0),
        (lambda x: x.add_(1).mul_(2).relu_(), 0),
        (lambda x: F.relu(x, inplace=True), 0),
        (lambda x: x.permute(0, 2, 3, 1).contiguous(), size(4)),
        (lambda x: x.chunk(2, dim=1)[0].clone(), size(2)),
        (lambda x: torch.cat((x, x), dim=1), size(8)),
        (lambda x: (x + 1).add_(x), size(4)),
        (lambda x: x.half(), size(4) // 2),
        (lambda x: torch.zeros(3, dtype=torch.int64), 3 * 8),
        (lambda x: torch.empty(0).resize_(6), 6 * FLOAT),
        (lambda x: x.new_empty(2).resize_(6), 6 * FLOAT),
    ],
)
def test_views_and_in_place_operators_take_nothing_and_copies_what_they_are(
    function: Callable[[Tensor], Tensor], above_input: int
) -> None:
    device_of_x = Lambda(lambda x: function(x) if x.device.type == "cpu" else on_meta(function, x))
    assert follow(device_of_x, maps(4)).peak_bytes == size(4) + above_input


def on_meta(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.device("meta"):
        return function(x)


def test_what_is_freed_is_free_for_what_follows() -> None:
    def forward(x: Tensor) -> Tensor:
        wide = torch.cat((x, x, x), dim=1)
        narrow = wide.mean(dim=1, keepdim=True)
        del wide
        return torch.cat((narrow, x), dim=1)

    found = follow(Lambda(forward), maps(4))
    assert found.peak_bytes == size(4) + size(12) + size(1)
    assert [event.change_bytes for event in found.timeline] == [
        0,
        size(12),
        size(1),
        -size(12),
        size(5),
        -size(1),
        -size(5),
    ]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.booleans())
@settings(max_examples=15)
def test_a_chain_of_convs_follows_its_closed_form(channels: list[int], training: bool) -> None:
    convs = [nn.Conv2d(i, o, 1, bias=False) for i, o in pairwise(channels)]
    found = follow(nn.Sequential(*convs), maps(channels[0]), mode="training" if training else "inference")
    weights = FLOAT * sum(i * o for i, o in pairwise(channels))
    first, *rest = [size(width) for width in channels]
    if training:
        assert found.saved_for_backward_bytes == sum([first, *rest[:-1]])
        assert found.forward_peak_bytes == weights + sum([first, *rest]) + SCALAR
        assert found.gradients_bytes == weights + first
    else:
        pairs = [before + after for before, after in zip([0, *rest], rest, strict=False)]
        assert found.peak_bytes == weights + first + max(pairs)


def test_every_output_counts_and_is_differentiated() -> None:
    def forward(x: Tensor, scale: Tensor) -> dict[str, Any]:
        return {"twice": x * 2, "rest": [x * scale, (x > 0)]}

    found = follow(Lambda(forward), maps(3), scale=torch.tensor(3.0))
    assert found.input_bytes == size(3) + FLOAT
    assert found.output_bytes == 2 * size(3) + size(3) // FLOAT
    assert found.peak_bytes == found.input_bytes + found.output_bytes
    trained = follow(Lambda(forward), maps(3), scale=torch.tensor(3.0), mode="training")
    assert trained.gradients_bytes == size(3) + FLOAT
    assert trained.saved_for_backward_bytes == size(3) + FLOAT


def test_an_output_that_is_the_input_is_no_second_storage() -> None:
    found = follow(nn.Identity(), maps(3))
    assert found.output_bytes == found.input_bytes == found.peak_bytes == size(3)


def test_a_result_that_autograd_saves_is_freed_once_it_is_used() -> None:
    found = follow(nn.Sequential(nn.Sigmoid(), nn.Sigmoid()), maps(3), mode="training")
    assert found.saved_for_backward_bytes == 2 * size(3)
    assert found.timeline[-1].live_bytes == 2 * size(3)  # the input and its gradient


def test_a_checkpoint_keeps_its_input_and_runs_its_inside_again() -> None:
    inside = nn.Sequential(nn.Sigmoid(), nn.Sigmoid(), nn.Sigmoid())
    plain = follow(inside, maps(3), mode="training")
    wrapped = Lambda(lambda x: checkpoint(inside, x, use_reentrant=False, preserve_rng_state=False))
    saved = follow(wrapped, maps(3), mode="training")
    assert plain.saved_for_backward_bytes == 3 * size(3)
    assert saved.saved_for_backward_bytes == size(3)
    assert saved.forward_peak_bytes == 3 * size(3)
    operators = [event.operator for event in saved.timeline if event.phase == "backward" and event.change_bytes > 0]
    assert operators.count("aten.sigmoid") == 3


def test_gradients_that_meet_add_up_in_place() -> None:
    found = follow(Lambda(lambda x: x * 2 + x * 3 + x * 5), maps(4), mode="training")
    # Without a dispatch mode autograd adds to the first of them: never more than two of them and the input are alive.
    assert found.backward_peak_bytes == 3 * size(4) + 2 * SCALAR
    assert found.gradients_bytes == size(4)


def test_a_gradient_that_somebody_else_holds_is_not_added_to_in_place() -> None:
    kept: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        product = x * 2
        if product.requires_grad:
            product.register_hook(lambda gradient: kept.append(gradient * 1) or kept[-1])
        return product + x * 3

    trained = Step(Lambda(forward), (maps(4).requires_grad_(),), {}, "training")
    assert trace(trained).backward_peak_bytes is not None
    kept.clear()
    # The input, the gradient that the hook keeps, its double, and the double of the other branch's gradient.
    assert trace(Step(Lambda(forward), (maps(4).requires_grad_(),), {}, "training")).backward_peak_bytes == (
        4 * size(4) + 2 * SCALAR
    )


def test_a_gradient_of_few_bytes_is_not_added_to_in_place() -> None:
    # Both gradients of the input are scalars, expanded; their sum is the first that has its size.
    found = follow(Lambda(lambda x: x + x.sum()), maps(4), mode="training")
    assert found.gradients_bytes == size(4)
    assert found.backward_peak_bytes == 2 * size(4) + 3 * SCALAR


def test_shared_weights_count_once_and_tensors_without_a_name_count() -> None:
    shared = nn.Conv2d(3, 3, 1, bias=False)
    module = nn.Sequential(shared, nn.ReLU(), shared)
    module.register_buffer("table", torch.zeros(10), persistent=False)
    module.plain = torch.zeros(7)
    module.halves = [shared.weight[:1], shared.weight.detach()[1:]]
    assert follow(module, maps(3)).weights_bytes == FLOAT * (9 + 10 + 7)


def test_an_lstm_runs_on_copies_of_its_own_weights() -> None:
    lstm = nn.LSTM(3, 5)
    copied = clone(lstm)
    found = trace(Step(copied, (torch.randn(2, 1, 3),)))
    assert found.weights_bytes == FLOAT * sum(parameter.numel() for parameter in lstm.parameters())
    own = {id(parameter) for parameter in copied.parameters()}
    assert {id(weight) for weight in copied._flat_weights} == own  # type: ignore[union-attr]


def test_inference_mode_inside_the_module_hides_nothing() -> None:
    def forward(x: Tensor) -> Tensor:
        return F.layer_norm(x, (4,))

    def under_inference_mode(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return F.layer_norm(x, (4,))

    statistics = 2 * FLOAT * 4 * 4
    assert follow(Lambda(forward), maps(4)).peak_bytes == 2 * size(4) + statistics
    assert follow(Lambda(under_inference_mode), maps(4)).peak_bytes == 2 * size(4) + statistics


def test_sparse_tensors_count_their_indices_and_values() -> None:
    def forward(indices: Tensor, values: Tensor) -> Tensor:
        return torch.sparse_coo_tensor(indices, values.clone(), (8,), is_coalesced=True, check_invariants=False)

    step = Step(Lambda(forward), (torch.tensor([[1, 5]]), torch.ones(2)))
    found = trace(step)
    assert found.peak_bytes == found.input_bytes + 2 * FLOAT
    assert found.output_bytes == 2 * 8 + 2 * FLOAT


def test_a_tensor_without_storage_is_said() -> None:
    found = trace(Step(Lambda(lambda x: x.to_mkldnn().to_dense()), (maps(3),)))
    assert "aten.to_mkldnn" in found.notes[0]


def test_arrays_from_elsewhere_count_from_their_first_use() -> None:
    found = trace(Step(Lambda(lambda x: x + torch.from_numpy(x.numpy().copy())), (maps(3),)))
    assert found.peak_bytes == 3 * size(3)
    assert [tensor.operator for tensor in found.alive if tensor.phase] == ["(existing)", "aten.add.Tensor"]


def test_compiled_parts_are_traced_eagerly() -> None:
    module = chain()
    plain = follow(module, maps(2))
    case = Case("nothing", shapes=((1, 2, 4, 4),))
    wrapped = nn.Sequential(torch.compile(module))
    compiled = measure_memory(Subject(case, "x", "block", {}, wrapped, (maps(2),)), high_water=False)
    assert compiled.peak_bytes == plain.peak_bytes
    assert compiled.notes == ("compiled modules were traced eagerly",)


def test_control_flow_is_traced_through_its_body() -> None:
    def forward(x: Tensor) -> Tensor:
        return torch.cond(x.sum() < 1e9, lambda x: (x * 2) + 1, lambda x: x, (x,))  # type: ignore[no-any-return]

    found = trace(Step(Lambda(forward), (maps(4),)))
    assert found.output_bytes == size(4)
    assert found.peak_bytes == pytest.approx(3 * size(4), abs=8)  # and the condition
    assert found.notes == ()


def test_autocast_casts_fake_tensors_as_it_casts_real_ones() -> None:
    module, x = chain(), maps(2)
    with cloning("fake") as cloner:
        fake = trace(Step(cloner.module(module), cloner.arguments((x,)), autocast=torch.bfloat16))
    real = trace(Step(clone(module), (x,), autocast=torch.bfloat16))
    assert replace(fake, timeline=()) == replace(real, timeline=())  # the casts of one conv change places
    assert "bfloat16" in {tensor.dtype for tensor in real.alive}


def test_a_step_without_anything_to_differentiate_says_so() -> None:
    with pytest.raises(MeasurementError, match="depends on a parameter or an input"):
        trace(Step(Lambda(lambda x: x * 2), (maps(2),), {}, "training"))


def test_alive_at_the_peak_adds_up_to_the_peak() -> None:
    for mode in ("inference", "training"):
        found = follow(nn.Sequential(chain(), nn.BatchNorm2d(5), nn.Hardswish()), maps(2), mode=mode)
        assert sum(tensor.bytes for tensor in found.alive) == found.peak_bytes
        assert max(event.live_bytes for event in found.timeline) == found.peak_bytes
        total = found.weights_bytes + found.input_bytes
        assert [total := total + event.change_bytes for event in found.timeline] == [
            e.live_bytes for e in found.timeline
        ]


def test_a_plain_tensor_that_is_asked_for_a_number_keeps_it_on_meta() -> None:
    """A detector's strides are neither a parameter nor a buffer, and decide how it scales what it gives."""

    class Scaling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 1, bias=False)
            self.stride = torch.tensor([2.0, 3.0])

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.stride[1].item()

    case = Case("Scaling", device="meta")
    memory = measure_memory(Subject(case, "Scaling", "block", {}, Scaling().to("meta"), (maps(2).to("meta"),)))
    assert memory.output_bytes == size(3)
    assert memory.peak_bytes == (6 + 2) * FLOAT + size(2) + 2 * size(3)
