"""Results that are inferred instead of run: sizes, strides and dtypes as real tensors have them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convbench.execution.tensors import MetaTensors
from convbench.measures.cost.inference import infer
from convbench.measures.cost.inference.pointwise import POINTWISE

aten = torch.ops.aten


def on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return MetaTensors().copy(value)
    return type(value)(on_meta(item) for item in value) if isinstance(value, (list, tuple)) else value


def layouts(result: Any) -> list[object]:
    """Sizes, the steps that matter (a dimension of one element may have any), dtypes."""

    def layout(item: Tensor) -> tuple[object, ...]:
        steps = [step for size, step in zip(item.shape, item.stride(), strict=True) if size > 1]
        return item.shape, steps, item.dtype

    results = result if isinstance(result, (list, tuple)) else [result]
    return [None if item is None else layout(item) for item in results]


def assert_inferred_as_run(operator: Any, *args: Any, must: bool = True, **kwargs: Any) -> None:
    """What is inferred on meta tensors is what the operator gives on real ones, or nothing is inferred."""
    inferred = infer(operator._schema.name, on_meta(args), {name: on_meta(value) for name, value in kwargs.items()})
    assert inferred is not None or not must
    if inferred is not None:
        assert layouts(inferred) == layouts(operator(*args, **kwargs))


@st.composite
def arranged(draw: st.DrawFn, sizes: tuple[int, ...]) -> Tensor:
    """A tensor of these sizes with its dimensions in any order in memory, sliced or not."""
    order = draw(st.permutations(range(len(sizes))))
    stored = torch.rand([sizes[axis] for axis in order])
    if draw(st.booleans()) and stored.dim():
        stored = torch.rand([stored.shape[0] * 2, *stored.shape[1:]])[::2]
    return stored.permute([list(order).index(axis) for axis in range(len(sizes))])


@st.composite
def broadcasting(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    kept = [size if draw(st.booleans()) else 1 for size in sizes]
    smaller = tuple(kept[draw(st.integers(0, len(kept))) :])
    pair = draw(arranged(sizes)), draw(arranged(smaller))
    return pair if draw(st.booleans()) else (pair[1], pair[0])


@settings(max_examples=100)
@given(broadcasting())
def test_sums_of_any_layouts(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    assert_inferred_as_run(aten.add.Tensor, a, b)
    assert_inferred_as_run(aten.gt.Tensor, a, b)
    assert_inferred_as_run(aten.where.self, a > 0, torch.rand(torch.broadcast_shapes(a.shape, b.shape)), b)
    assert_inferred_as_run(aten.mul_.Tensor, a, b, must=a.shape == torch.broadcast_shapes(a.shape, b.shape))


@pytest.mark.parametrize("name", sorted(POINTWISE - {"clamp"}))
def test_element_wise_operators(name: str) -> None:
    """Every operator that is inferred as element-wise is: same sizes, strides and dtype as its operands."""
    x = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    extras = {
        "threshold": (0.1, 0.0), "hardtanh": (-1, 1), "elu_backward": (1, 1, 1, False), "softplus_backward": (x, 1, 20),
        "threshold_backward": (x, 0.1), "hardtanh_backward": (x, -1, 1), "leaky_relu_backward": (x, 0.1, False),
        "hardshrink_backward": (x, 0.5), "softshrink_backward": (x, 0.5), "logit_backward": (x,), "lerp": (x, 0.3),
        "clamp_min": (0.1,), "clamp_max": (0.1,), "addcmul": (x, x), "addcdiv": (x, x), "logit": (1e-6,),
    }  # fmt: skip
    packet = getattr(aten, name)
    for overload in packet.overloads():
        operator = getattr(packet, overload)
        tensors = [a for a in operator._schema.arguments if str(a.type) == "Tensor" and not a.kwarg_only]
        if "out" in overload or "grad_input" in overload or len(tensors) == 0 or "Scalar" in overload:
            continue
        args = (x, *extras[name]) if name in extras else (x,) * len(tensors)
        if name == "elu_backward":
            args = (*args, x)
        try:
            operator(*args)
        except (RuntimeError, TypeError, NotImplementedError):
            continue
        assert_inferred_as_run(operator, *args)


@settings(max_examples=100)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_convolutions(
    rank: int,
    groups: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    transposed: bool,
    bias: bool,
    x_channels_last: bool,
    weight_channels_last: bool,
) -> None:
    x, filters = torch.rand([2, 2 * groups, *[6] * rank]), 2 * groups if transposed else 3 * groups
    weight = torch.rand([filters, 3 if transposed else 2, *[kernel] * rank])
    if rank == 2:
        x = x.to(memory_format=torch.channels_last) if x_channels_last else x
        weight = weight.to(memory_format=torch.channels_last) if weight_channels_last else weight
    offset = torch.rand(3 * groups) if bias else None
    output_padding = min(stride, dilation) - 1 if transposed else 0
    options = ([stride] * rank, [padding] * rank, [dilation] * rank, transposed, [output_padding] * rank, groups)
    try:
        y = aten.convolution(x, weight, offset, *options)
    except RuntimeError:
        assert infer("aten::convolution", on_meta((x, weight, offset, *options)), {}) is None
        return
    assert_inferred_as_run(aten.convolution.default, x, weight, offset, *options)
    mask = [True, True, bias]
    sizes = [3 * groups] if bias else None
    assert_inferred_as_run(aten.convolution_backward.default, torch.rand_like(y), x, weight, sizes, *options, mask)


def test_a_wrong_convolution_is_left_to_torch() -> None:
    x, weight = MetaTensors().copy(torch.rand(1, 4, 5, 5)), MetaTensors().copy(torch.rand(8, 3, 3, 3))
    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    assert infer("aten::convolution", (x, weight, None, *options), {}) is None


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(memory_format: torch.memory_format, training: bool) -> None:
    x, c = torch.rand(2, 3, 4, 5).to(memory_format=memory_format), torch.rand(3)
    assert_inferred_as_run(aten.native_batch_norm.default, x, c, c, c.clone(), c.clone(), training, 0.1, 1e-5)
    saved = c if training else torch.empty(0)
    args = (x, x, c, c, c, saved, saved, training, 1e-5, [True, True, True])
    assert_inferred_as_run(aten.native_batch_norm_backward.default, *args)


@pytest.mark.parametrize("dims", [(0, 1, 2), (0, 2, 1)])
def test_row_norms(dims: tuple[int, ...]) -> None:
    x, w = torch.rand(2, 4, 4).permute(dims), torch.rand(4)
    assert_inferred_as_run(aten.native_layer_norm.default, x, [4], w, w, 1e-5)
    _, mean, rstd = aten.native_layer_norm(x, [4], w, w, 1e-5)
    assert_inferred_as_run(aten.native_layer_norm_backward.default, x, x, [4], mean, rstd, w, w, [True] * 3)
    image = torch.rand(2, 4, 3, 3)
    assert_inferred_as_run(aten.native_group_norm.default, image, w, w, 2, 4, 9, 2, 1e-5)


def test_products_reductions_and_concatenation() -> None:
    a, b, image = torch.rand(3, 4), torch.rand(4, 5), torch.rand(2, 3, 4, 5)
    assert_inferred_as_run(aten.mm.default, a, b)
    assert_inferred_as_run(aten.mm.default, a, torch.rand(5, 4).t())
    assert_inferred_as_run(aten.addmm.default, torch.rand(5), a, b, beta=0.5)
    assert_inferred_as_run(aten.bmm.default, torch.rand(2, 3, 4), torch.rand(2, 4, 5))
    last = image.to(memory_format=torch.channels_last)
    for each in (image, last, image.permute(0, 2, 3, 1), image[:, ::2]):
        for dims in ([2, 3], [-1], [0]):
            for keepdim in (False, True):
                assert_inferred_as_run(aten.mean.dim, each, dims, keepdim)
                assert_inferred_as_run(aten.sum.dim_IntList, each, dims, keepdim)
                assert_inferred_as_run(aten.amax.default, each, dims, keepdim)
    assert_inferred_as_run(aten.sum.default, image)
    for pair in ([image, image], [last, last]):
        assert_inferred_as_run(aten.cat.default, pair, 1)
    assert_inferred_as_run(aten.cat.default, [image, last], 1)
    assert_inferred_as_run(aten.cat.default, [last, torch.rand(2, 3, 4, 10)[..., ::2]], 1)
    for each in (image, last):
        assert_inferred_as_run(aten.clone.default, each)
        assert_inferred_as_run(aten.clone.default, each, memory_format=torch.contiguous_format)
        assert_inferred_as_run(aten.clone.default, each, memory_format=torch.channels_last)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [([3, 3], [2, 2], [1, 1]), ([2, 3],), ([3], [1], [1], [2])])
def test_maximum_pooling(memory_format: torch.memory_format, options: tuple[list[int], ...]) -> None:
    x = torch.rand(2, 3, 9, 8).to(memory_format=memory_format)
    assert_inferred_as_run(aten.max_pool2d_with_indices.default, x, *options)
    y, indices = aten.max_pool2d_with_indices(x, *options)
    kernel, stride, padding, dilation = (*options, *([[], [0, 0], [1, 1]][len(options) - 1 :]))
    args = (y, x, kernel, stride, padding, dilation, False, indices)
    assert_inferred_as_run(aten.max_pool2d_with_indices_backward.default, *args)


def test_counting_in_place() -> None:
    assert_inferred_as_run(aten.add_.Tensor, torch.zeros((), dtype=torch.long), 1)
    assert infer("aten::add_", (MetaTensors().copy(torch.zeros(2, dtype=torch.long)), 1.5), {}) is None


@pytest.mark.parametrize("training", [False, True])
def test_the_first_count_imports_no_compiler(training: bool) -> None:
    """torch's meta kernels of relu, batch norm, mean, … import torch._dynamo: a second and hundreds of modules."""
    program = f"""
import sys, torch
from convblocks import Conv2FormerBlock, MRFA, PyConvBottleneck
from convbench.measures.cost import measure_cost
for block, dim in ((PyConvBottleneck(256, 64), 256), (MRFA(64), 64), (Conv2FormerBlock(64, 11), 64)):
    for mode in (False, True):
        block.train(mode)
        measure_cost(block, (torch.empty(1, dim, 14, 14),), training={training})
        print("torch._dynamo" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False"] * 6
