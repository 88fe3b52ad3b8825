"""Numbers of other kinds: quantised layers and complex arithmetic."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convbench.measures.cost import Kind, measure_cost
from tests.cost.costing import Forward

quantization = torch.ao.quantization


def converted(layers: list[nn.Module], *shape: int) -> nn.Module:
    """The layers, calibrated on noise and converted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = nn.Sequential(quantization.QuantStub(), *layers, quantization.DeQuantStub()).eval()
        plain.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
        prepared = quantization.prepare(plain)
        prepared(torch.randn(shape))
        return quantization.convert(prepared)


@pytest.mark.parametrize(
    ("layers", "shape", "macs", "on_padding"),
    [
        ([nn.Conv2d(8, 8, 3, padding=1)], (2, 8, 10, 10), 2 * 100 * 8 * 72, 2 * 64 * (900 - 28 * 28)),
        ([nn.Conv2d(8, 16, 5, stride=2, groups=4, bias=False)], (2, 8, 11, 11), 2 * 16 * 16 * 2 * 25, 0),
        ([nn.Conv1d(4, 6, 3, dilation=2)], (2, 4, 12), 2 * 8 * 6 * 4 * 3, 0),
        ([nn.Conv3d(2, 4, 3)], (1, 2, 6, 6, 6), 64 * 4 * 2 * 27, 0),
        ([nn.ReLU(), nn.Linear(8, 5)], (3, 8), 3 * 8 * 5, 0),
    ],
)
def test_quantised_layers(layers: list[nn.Module], shape: tuple[int, ...], macs: int, on_padding: int) -> None:
    cost = measure_cost(converted(layers, *shape), (torch.randn(shape),))
    assert (cost.macs, cost.padding_macs, cost.uncounted) == (macs, on_padding, ())
    (row,) = [operator for operator in cost.operators if operator.macs]
    assert (row.kind, row.name.partition("::")[0]) == (Kind.INTEGER, "quantized")


def test_a_quantised_layer_reads_its_weights() -> None:
    cost = measure_cost(converted([nn.Conv2d(8, 8, 3, padding=1)], 2, 8, 10, 10), (torch.randn(2, 8, 10, 10),))
    row = cost.operators[0]
    assert row.bytes_moved == 2 * 1600 + 576 + 8 * 4


def test_dynamically_quantised_linear_layers() -> None:
    network = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 5)), {nn.Linear}, dtype=torch.qint8)
    cost = measure_cost(network, (torch.randn(3, 8),))
    assert (cost.macs, cost.uncounted) == (120, ())


REAL, COMPLEX = torch.ones(6), torch.ones(6, dtype=torch.complex64)


WEIGHTS = 4 * 16 * (8 + 16)
"""Of an LSTM's one layer, 8 to 16; a GRU has three gates instead of four."""


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.LSTM(8, 16), (7, 3, 8), 21 * WEIGHTS),
        (nn.LSTM(8, 16, 2, bidirectional=True), (7, 3, 8), 21 * 2 * (WEIGHTS + 4 * 16 * (32 + 16))),
        (nn.GRU(8, 16, batch_first=True), (3, 7, 8), 21 * WEIGHTS * 3 // 4),
        (nn.LSTMCell(8, 16), (3, 8), 3 * WEIGHTS),
        (nn.GRUCell(8, 16), (3, 8), 3 * WEIGHTS * 3 // 4),
        (nn.RNNCell(8, 16), (3, 8), 3 * WEIGHTS // 4),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_dynamically_quantised_recurrent_layers(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    module = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)}, dtype=torch.qint8)
    cost = measure_cost(module, (torch.zeros(shape),))
    assert (cost.macs, cost.uncounted) == (macs, ())
    assert cost.operators[0].kind == Kind.INTEGER


@pytest.mark.parametrize(
    ("function", "operations"),
    [
        (lambda z: z * REAL, 2),
        (lambda z: REAL * z, 2),
        (lambda z: z * 3.0, 2),
        (lambda z: z * 3j, 6),
        (lambda z: z * COMPLEX, 6),
        (lambda z: z / REAL, 2),
        (lambda z: z / 3, 2),
        (lambda z: z / COMPLEX, 11),
        (lambda z: z + REAL, 1),
        (lambda z: z - 2.0, 1),
        (lambda z: z + COMPLEX, 2),
        (lambda z: torch.add(z, COMPLEX, alpha=2), 4),
        (lambda z: torch.add(z, REAL, alpha=2), 2),
        (lambda z: -z, 2),
        (lambda z: z.abs(), 4),
    ],
)
def test_complex_arithmetic(function: Callable[[Tensor], Tensor], operations: int) -> None:
    for z in (COMPLEX, COMPLEX.to("meta")):
        meta = z.is_meta
        module = Forward(lambda _, z: function(z))
        if meta and any(isinstance(c.cell_contents, Tensor) for c in function.__closure__ or ()):
            continue
        cost = measure_cost(module, (z,))
        assert (cost.flops, cost.uncounted) == (operations * 6, ())


def test_products_of_complex_matrices_take_four_real_ones() -> None:
    a = torch.zeros(3, 4, dtype=torch.complex64)
    assert measure_cost(Forward(lambda _, a, b: a @ b), (a, a.t())).macs == 4 * 3 * 4 * 3
