"""A numeric proof of the operations that element-wise functions cost.

Each function's textbook definition is evaluated on numbers that count the operations done to them. The value must be
torch's, and the count what is reported for an element: so the table counts the function that really runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward

Number = "Counted | float"


class Counted:
    """A float that counts every operation done to it."""

    operations = 0

    def __init__(self, value: float) -> None:
        self.value = value

    @staticmethod
    def of(function: Callable[..., float], *operands: Number) -> Counted:
        Counted.operations += 1
        return Counted(function(*(raw(operand) for operand in operands)))

    def __add__(self, other: Number) -> Counted:
        return Counted.of(lambda a, b: a + b, self, other)

    def __sub__(self, other: Number) -> Counted:
        return Counted.of(lambda a, b: a - b, self, other)

    def __mul__(self, other: Number) -> Counted:
        return Counted.of(lambda a, b: a * b, self, other)

    def __truediv__(self, other: Number) -> Counted:
        return Counted.of(lambda a, b: a / b, self, other)

    def __radd__(self, other: float) -> Counted:
        return Counted(other) + self

    def __rsub__(self, other: float) -> Counted:
        return Counted(other) - self

    def __rmul__(self, other: float) -> Counted:
        return Counted(other) * self

    def __rtruediv__(self, other: float) -> Counted:
        return Counted(other) / self

    def __neg__(self) -> Counted:
        return Counted.of(lambda a: -a, self)

    def __gt__(self, other: Number) -> bool:
        Counted.operations += 1
        return self.value > raw(other)


def raw(number: Number) -> float:
    return number.value if isinstance(number, Counted) else number


def elementary(function: Callable[[float], float]) -> Callable[[Counted], Counted]:
    return lambda x: Counted.of(function, x)


exp, log, tanh, erf, sqrt, sin = (elementary(f) for f in (math.exp, math.log, math.tanh, math.erf, math.sqrt, math.sin))
rsqrt, absolute = elementary(lambda x: 1 / math.sqrt(x)), elementary(abs)
sign = elementary(lambda x: (x > 0) - (x < 0))


def larger(a: Number, b: Number) -> Counted:
    return Counted.of(max, a, b)


def smaller(a: Number, b: Number) -> Counted:
    return Counted.of(min, a, b)


def pick(condition: bool, a: Number, b: Number) -> Counted:
    """A choice costs nothing; what it chooses from has been computed."""
    return Counted(raw(a) if condition else raw(b))


def total(numbers: Sequence[Counted]) -> Counted:
    """A sum accumulates from zero, as a multiply–accumulate does."""
    result = Counted(0.0)
    for number in numbers:
        result = result + number
    return result


def largest(numbers: Sequence[Counted]) -> Counted:
    result = Counted(-math.inf)
    for number in numbers:
        result = larger(result, number)
    return result


def sigmoid(x: Counted) -> Counted:
    return 1.0 / (1.0 + exp(-x))


def cube_inside(x: Counted) -> Counted:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


def sinc(x: Counted) -> Counted:
    angle = x * math.pi
    return sin(angle) / angle


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
UNARY: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Counted], Counted]]] = {
    "relu": (F.relu, lambda x: larger(x, 0.0)),
    "relu6": (F.relu6, lambda x: smaller(larger(x, 0.0), 6.0)),
    "sigmoid": (torch.sigmoid, sigmoid),
    "tanh": (torch.tanh, tanh),
    "silu": (F.silu, lambda x: x * sigmoid(x)),
    "gelu": (F.gelu, lambda x: x * 0.5 * (1.0 + erf(x * math.sqrt(0.5)))),
    "gelu, tanh form": (lambda x: F.gelu(x, approximate="tanh"), lambda x: 0.5 * x * (1.0 + tanh(cube_inside(x)))),
    "mish": (F.mish, lambda x: x * tanh(log(1.0 + exp(x)))),
    "softplus": (F.softplus, lambda x: log(1.0 + exp(x))),
    "softplus, beta": (lambda x: F.softplus(x, beta=2.0), lambda x: log(1.0 + exp(2.0 * x)) / 2.0),
    "hardswish": (F.hardswish, lambda x: x * smaller(larger(x + 3.0, 0.0), 6.0) / 6.0),
    "hardsigmoid": (F.hardsigmoid, lambda x: smaller(larger(x + 3.0, 0.0), 6.0) / 6.0),
    "hardtanh": (F.hardtanh, lambda x: smaller(larger(x, -1.0), 1.0)),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), lambda x: pick(x > 0.0, x, 0.1 * x)),
    "elu": (lambda x: F.elu(x, 1.3), lambda x: larger(x, 0.0) + smaller(1.3 * (exp(x) - 1.0), 0.0)),
    "celu": (lambda x: F.celu(x, 1.3), lambda x: larger(x, 0.0) + smaller(1.3 * (exp(x / 1.3) - 1.0), 0.0)),
    "selu": (F.selu, lambda x: SELU_SCALE * (larger(x, 0.0) + smaller(SELU_ALPHA * (exp(x) - 1.0), 0.0))),
    "log sigmoid": (F.logsigmoid, lambda x: -log(1.0 + exp(-x))),
    "softsign": (F.softsign, lambda x: x / (1.0 + absolute(x))),
    "tanhshrink": (F.tanhshrink, lambda x: x - tanh(x)),
    "softshrink": (F.softshrink, lambda x: sign(x) * larger(absolute(x) - 0.5, 0.0)),
    "hardshrink": (F.hardshrink, lambda x: pick(absolute(x) > 0.5, x, 0.0)),
    "threshold": (lambda x: F.threshold(x, 0.2, 7.0), lambda x: pick(x > 0.2, x, 7.0)),
    "sinc": (torch.sinc, sinc),
    "square, scaled sum": (lambda x: torch.add(x * x, x, alpha=0.3), lambda x: x * x + 0.3 * x),
    "lerp": (lambda x: torch.lerp(x, x * 2, 0.3), lambda x: x + 0.3 * (x * 2.0 - x)),
    "addcmul": (lambda x: torch.addcmul(x, x, x, value=0.5), lambda x: x + 0.5 * x * x),
    "addcdiv": (lambda x: torch.addcdiv(x, x, x), lambda x: x + x / x),
    "clamp": (lambda x: x.clamp(-0.1, 0.4), lambda x: smaller(larger(x, -0.1), 0.4)),
    "clamp from below": (lambda x: x.clamp(min=-0.1), lambda x: larger(x, -0.1)),
    "chain": (lambda x: torch.exp(-(x**2) / 2) * (x + 1), lambda x: exp(-(x * x) / 2.0) * (x + 1.0)),
}


def count(calculation: Callable[[], object]) -> tuple[object, int]:
    Counted.operations = 0
    return calculation(), Counted.operations


POINTS = torch.tensor([-4.5, -2.0, -0.7, -0.01, 0.3, 1.1, 3.5, 6.7], dtype=torch.float64)


@pytest.mark.parametrize("name", UNARY)
def test_a_function_costs_the_operations_of_its_definition(name: str) -> None:
    function, definition = UNARY[name]
    counts = set()
    for point, expected in zip(POINTS.tolist(), function(POINTS).tolist(), strict=True):
        result, operations = count(lambda point=point: definition(Counted(point)))
        assert raw(result) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        counts.add(operations)
    cost = measure_cost(Forward(lambda _, x: function(x)), (torch.empty(5, 8),))
    assert counts == {cost.flops // 40}
    assert cost.flops % 40 == 0
    assert (cost.macs, cost.uncounted) == (0, ())


def silu_gradient(x: Counted) -> Counted:
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def gelu_gradient(x: Counted) -> Counted:
    cumulative = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return cumulative + x * density


def mish_gradient(x: Counted) -> Counted:
    t = tanh(log(1.0 + exp(x)))
    return t + x * sigmoid(x) * (1.0 - t * t)


def sigmoid_gradient(y: Counted, g: float) -> Counted:
    return g * y * (1.0 - y)


def hardswish_gradient(x: Counted, g: float) -> Counted:
    above, inside = raw(x) >= -3.0, x > 3.0
    Counted.operations += 1  # the comparison with −3
    return pick(inside, g, pick(above, (x / 3.0 + 0.5) * g, 0.0))


# definition of the gradient from the input (or, where the name says so, from the result y)
GRADIENTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Counted, float], Counted], bool]] = {
    "relu": (F.relu, lambda y, g: pick(y > 0.0, g, 0.0), True),
    "sigmoid": (torch.sigmoid, sigmoid_gradient, True),
    "tanh": (torch.tanh, lambda y, g: g * (1.0 - y * y), True),
    "silu": (F.silu, lambda x, g: g * silu_gradient(x), False),
    "gelu": (F.gelu, lambda x, g: g * gelu_gradient(x), False),
    "mish": (F.mish, lambda x, g: g * mish_gradient(x), False),
    "softplus": (F.softplus, lambda x, g: g * sigmoid(x), False),
    "hardswish": (F.hardswish, hardswish_gradient, False),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.1), lambda x, g: pick(x > 0.0, g, Counted(0.1) * g), False),
    "elu": (lambda x: F.elu(x, 1.3), lambda x, g: pick(x > 0.0, g, exp(x) * 1.3 * g), False),
    "log sigmoid": (F.logsigmoid, lambda x, g: g * (1.0 / (1.0 + exp(x))), False),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_costs_the_operations_of_its_definition(name: str) -> None:
    function, definition, from_result = GRADIENTS[name]
    x = POINTS.clone().requires_grad_()
    y = function(x)
    (expected,) = torch.autograd.grad(y, x, torch.full_like(y, 0.7))
    counts = set()
    for point, gradient in zip((y if from_result else x).tolist(), expected.tolist(), strict=True):
        result, operations = count(lambda point=point: definition(Counted(point), 0.7))
        assert raw(result) == pytest.approx(gradient, rel=1e-7, abs=1e-12)
        counts.add(operations)
    module = Forward(lambda _, x: function(x))
    forward, both = (measure_cost(module, (torch.empty(5, 8),), training=training) for training in (False, True))
    assert counts == {(both.flops - forward.flops) // 40}


def softmax(row: list[Counted]) -> list[Counted]:
    highest = largest(row)
    shares = [exp(x - highest) for x in row]
    whole = total(shares)
    return [share / whole for share in shares]


def log_softmax(row: list[Counted]) -> list[Counted]:
    highest = largest(row)
    shifted = [x - highest for x in row]
    whole = log(total([exp(x) for x in shifted]))
    return [x - whole for x in shifted]


def variance(row: list[Counted]) -> tuple[list[Counted], Counted]:
    mean = total(row) / len(row)
    centred = [x - mean for x in row]
    return centred, total([d * d for d in centred]) / len(row)


def layer_norm(row: list[Counted]) -> list[Counted]:
    centred, spread = variance(row)
    inverse = rsqrt(spread + 1e-5)
    return [d * inverse * 1.5 + 0.25 for d in centred]


def rms_norm(row: list[Counted]) -> list[Counted]:
    inverse = rsqrt(total([x * x for x in row]) / len(row) + 1e-6)
    return [x * inverse * 1.5 for x in row]


def stored_batch_norm(row: list[Counted]) -> list[Counted]:
    scale = rsqrt(Counted(2.0) + 1e-5) * 1.5
    shift = 0.25 - Counted(0.3) * scale
    return [x * scale + shift for x in row]


def batch_norm(row: list[Counted]) -> list[Counted]:
    mean = total(row) / len(row)
    spread = total([d * d for d in [x - mean for x in row]]) / len(row)
    scale = rsqrt(spread + 1e-5) * 1.5
    shift = 0.25 - mean * scale
    unbiased = spread * (len(row) / (len(row) - 1))
    for stored, new in ((0.3, mean), (2.0, unbiased)):
        _ = 0.9 * Counted(stored) + 0.1 * new
    return [x * scale + shift for x in row]


def logsumexp(row: list[Counted]) -> list[Counted]:
    highest = largest(row)
    return [log(total([exp(x - highest) for x in row])) + highest]


FULL = torch.tensor([1.5, 0.25, 0.3, 2.0], dtype=torch.float64)


def one_channel(training: bool) -> Callable[[Tensor], Tensor]:
    """Batch norm of one channel whose samples are the row."""
    weight, bias, mean, var = (item.reshape(1) for item in FULL)
    return lambda x: F.batch_norm(
        x.reshape(-1, 1), mean.to(x, copy=True), var.to(x, copy=True), weight.to(x), bias.to(x), training
    ).reshape(-1)


ROWS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[list[Counted]], list[Counted]]]] = {
    "softmax": (lambda x: F.softmax(x, -1), softmax),
    "log softmax": (lambda x: F.log_softmax(x, -1), log_softmax),
    "layer norm": (
        lambda x: F.layer_norm(x, x.shape[-1:], torch.full_like(x, 1.5), torch.full_like(x, 0.25)), layer_norm,
    ),
    "group norm": (
        lambda x: F.group_norm(x[None], 1, torch.full_like(x, 1.5), torch.full_like(x, 0.25))[0], layer_norm,
    ),
    "sum": (lambda x: x.sum(-1, keepdim=True), lambda row: [total(row)]),
    "mean": (lambda x: x.mean(-1, keepdim=True), lambda row: [total(row) / len(row)]),
    "maximum": (lambda x: x.amax(-1, keepdim=True), lambda row: [largest(row)]),
    "variance": (lambda x: x.var(-1, correction=0, keepdim=True), lambda row: [variance(row)[1]]),
    "deviation": (lambda x: x.std(-1, correction=0, keepdim=True), lambda row: [sqrt(variance(row)[1])]),
    "logsumexp": (lambda x: x.logsumexp(-1, keepdim=True), logsumexp),
    "norm": (
        lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), lambda row: [sqrt(total([x * x for x in row]))],
    ),
    "stored batch norm": (one_channel(False), stored_batch_norm),
    "batch norm": (one_channel(True), batch_norm),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_costs_the_operations_of_its_definition(name: str) -> None:
    function, definition = ROWS[name]
    result, operations = count(lambda: definition([Counted(point) for point in POINTS.tolist()]))
    assert [raw(number) for number in result] == pytest.approx(function(POINTS).flatten().tolist(), rel=1e-9)
    cost = measure_cost(Forward(lambda _, x: function(x)), (POINTS,))
    assert (cost.flops, cost.uncounted) == (operations, ())


def test_pooling_visits_the_elements_inside_the_input() -> None:
    x = torch.empty(2, 3, 7, 5)
    inside = sum(1 for top in range(-1, 7, 2) for row in range(top, top + 3) if 0 <= row < 7)
    across = sum(1 for left in range(-1, 5, 2) for column in range(left, left + 3) if 0 <= column < 5)
    assert measure_cost(nn.MaxPool2d(3, 2, 1), (x,)).flops == 6 * inside * across
    outputs = 6 * 4 * 3
    assert measure_cost(nn.AvgPool2d(3, 2, 1), (x,)).flops == 6 * inside * across + outputs
    windows = [range(i * 7 // 4, -(-(i + 1) * 7 // 4)) for i in range(4)]
    adaptive = sum(len(window) for window in windows) * 5
    assert measure_cost(nn.AdaptiveAvgPool2d((4, 1)), (x,)).flops == 6 * adaptive + 6 * 4


def test_bilinear_resizing_interpolates_along_rows_and_then_columns() -> None:
    def interpolate(a: Counted, b: Counted, share: float) -> Counted:
        return (1 - share) * a + share * b

    image = torch.tensor([[1.0, 2.0], [5.0, 3.0]], dtype=torch.float64)
    (a, b), (c, d) = ([Counted(x) for x in row] for row in image.tolist())
    middle, operations = count(lambda: interpolate(interpolate(a, b, 0.5), interpolate(c, d, 0.5), 0.5))
    resized = F.interpolate(image[None, None], size=(3, 3), mode="bilinear", align_corners=True)
    assert raw(middle) == pytest.approx(resized[0, 0, 1, 1].item())
    cost = measure_cost(nn.Upsample(size=(3, 3), mode="bilinear", align_corners=True), (image[None, None],))
    assert cost.flops == operations * 9


@pytest.mark.parametrize(("mode", "reach"), [("bilinear", 1), ("bicubic", 2)])
def test_antialiased_resizing_meets_the_neighbours_that_carry_weight(mode: str, reach: int) -> None:
    """The neighbours of each result are the input elements whose change moves it."""
    x = torch.rand(1, 1, 1, 23, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda row: F.interpolate(row, size=(1, 9), mode=mode, antialias=True), x
    )
    connected = int((jacobian != 0).sum())
    cost = measure_cost(Forward(lambda _, y: F.interpolate(y, size=(1, 9), mode=mode, antialias=True)), (x,))
    along_columns = 2 * 9
    assert connected * 2 <= cost.flops - along_columns <= connected * 2 + 2 * 2 * 9 * reach


def test_integers_and_conditions_are_no_floating_point_operations() -> None:
    positions = Forward(lambda _, x: ((x + 1) * 3 // 2, x > 4, x == x))
    assert measure_cost(positions, (torch.zeros(4, 5, dtype=torch.long),)).flops == 0
    assert measure_cost(Forward(lambda _, x: (x > 0) & (x < 1)), (torch.zeros(4, 5),)).flops == 40


def test_complex_arithmetic_counts_its_real_operations() -> None:
    x = torch.zeros(10, dtype=torch.complex64)
    assert measure_cost(Forward(lambda _, z: z * z), (x,)).flops == 60
    assert measure_cost(Forward(lambda _, z: z + z), (x,)).flops == 20
    assert measure_cost(Forward(lambda _, z: z.abs()), (x,)).flops == 40
    unknown = measure_cost(Forward(lambda _, z: torch.tan(z)), (x,))
    assert [item.name for item in unknown.uncounted] == ["aten::tan"]
    assert unknown.is_lower_bound
