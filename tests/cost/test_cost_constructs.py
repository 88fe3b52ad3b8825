"""Every way to write a product, each against its closed form: layers, functions, recurrent layers, attention, modes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from convbench.measures.cost import Kind, measure_cost
from tests.cost.costing import Forward, assert_adds_up, meta

SEQUENCE, BATCH, IN, HIDDEN = 5, 2, 8, 16
COMPLEX = torch.complex64


class SquareByHand(torch.autograd.Function):
    """A convolution whose gradients are written out; tracing counters do not see inside."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return (
            torch.nn.grad.conv2d_input(x.shape, weight, grad, padding=1),
            torch.nn.grad.conv2d_weight(x, weight.shape, grad, padding=1),
        )


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def recurrent(gates: int, inputs: int = IN) -> int:
    """MACs of one recurrent layer: every step multiplies the input's and the state's matrices."""
    return SEQUENCE * BATCH * gates * HIDDEN * (inputs + HIDDEN)


def attended(queries: int, keys: int, width: int = 32, batch: int = 2) -> int:
    """Multi-head attention: four projections, scores, weighted values."""
    return batch * (2 * queries + 2 * keys) * width * width + 2 * batch * queries * keys * width


Case = tuple[nn.Module, tuple[object, ...], int]
PRODUCTS: dict[str, Callable[[], Case]] = {
    "matmul of three dimensions": lambda: (Forward(lambda _, a, b: a @ b), (meta(2, 5, 6), meta(6, 7)), 2 * 5 * 6 * 7),
    "batched matmul, broadcast": lambda: (
        Forward(lambda _, a, b: a @ b), (meta(3, 1, 5, 6), meta(2, 6, 7)), 3 * 2 * 5 * 6 * 7,
    ),
    "einsum": lambda: (
        Forward(lambda _, a, b: torch.einsum("bij,bjk->bik", a, b)), (meta(2, 5, 6), meta(2, 6, 7)), 2 * 5 * 6 * 7,
    ),
    "matrix times vector": lambda: (Forward(lambda _, a, b: torch.mv(a, b)), (meta(5, 6), meta(6)), 30),
    "dot": lambda: (Forward(lambda _, a, b: torch.dot(a, b)), (meta(6), meta(6)), 6),
    "baddbmm": lambda: (
        Forward(lambda _, c, a, b: torch.baddbmm(c, a, b)), (meta(2, 5, 7), meta(2, 5, 6), meta(2, 6, 7)), 420,
    ),
    "addbmm": lambda: (
        Forward(lambda _, c, a, b: torch.addbmm(c, a, b)), (meta(5, 7), meta(2, 5, 6), meta(2, 6, 7)), 420,
    ),
    "tensordot": lambda: (Forward(lambda _, a, b: torch.tensordot(a, b, 2)), (meta(5, 6, 7), meta(6, 7, 3)), 630),
    "bilinear": lambda: (nn.Bilinear(5, 4, 3), (meta(2, 5), meta(2, 4)), 2 * 3 * 5 * 4),
    "unfold and product": lambda: (
        Forward(lambda m, x: m.weight.flatten(1) @ F.unfold(x, 3, padding=1), weight=weight(8, 4, 3, 3)),
        (meta(2, 4, 8, 8),), 2 * 4 * 8 * 9 * 64,
    ),
    "autograd function": lambda: (
        Forward(lambda m, x: SquareByHand.apply(x, m.weight), weight=weight(8, 4, 3, 3)),
        (meta(2, 4, 8, 8),), 2 * 4 * 8 * 9 * 64,
    ),
    "vmap": lambda: (
        Forward(lambda m, x: torch.vmap(lambda row: m.weight @ row)(x), weight=weight(3, 8)), (meta(6, 8),), 144,
    ),
    "complex product": lambda: (
        Forward(lambda _, a, b: a @ b), (meta(5, 6, dtype=COMPLEX), meta(6, 7, dtype=COMPLEX)), 4 * 210,
    ),
    "complex convolution, three real ones": lambda: (
        nn.Conv2d(4, 8, 3, padding=1, bias=False, dtype=COMPLEX), (meta(2, 4, 8, 8, dtype=COMPLEX),), 3 * 36864,
    ),
    "embedding, then linear": lambda: (
        nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 3)), (meta(2, 5, dtype=torch.long),), 2 * 5 * 8 * 3,
    ),
    "weight normalisation": lambda: (
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), (meta(6, 8),), 6 * 8 * 8,
    ),
    "LSTM of two layers": lambda: (
        nn.LSTM(IN, HIDDEN, 2), (meta(SEQUENCE, BATCH, IN),), recurrent(4) + recurrent(4, HIDDEN),
    ),
    "LSTM, both ways, batch first": lambda: (
        nn.LSTM(IN, HIDDEN, bidirectional=True, batch_first=True), (meta(BATCH, SEQUENCE, IN),), 2 * recurrent(4),
    ),
    "GRU": lambda: (nn.GRU(IN, HIDDEN), (meta(SEQUENCE, BATCH, IN),), recurrent(3)),
    "RNN": lambda: (nn.RNN(IN, HIDDEN), (meta(SEQUENCE, BATCH, IN),), recurrent(1)),
    "LSTM cell": lambda: (nn.LSTMCell(IN, HIDDEN), (meta(BATCH, IN),), recurrent(4) // SEQUENCE),
    "packed sequence": lambda: (
        nn.LSTM(IN, HIDDEN), (pack_padded_sequence(torch.zeros(4, 2, IN), [4, 2]),), 6 * 4 * HIDDEN * (IN + HIDDEN),
    ),
    "scaled dot product": lambda: (
        Forward(lambda _, q, k: F.scaled_dot_product_attention(q, k, k)), (meta(2, 4, 10, 8), meta(2, 4, 12, 8)),
        2 * 4 * 10 * 12 * (8 + 8),
    ),
    "causal attention is dense": lambda: (
        Forward(lambda _, q: F.scaled_dot_product_attention(q, q, q, is_causal=True)), (meta(2, 4, 10, 8),),
        2 * 4 * 10 * 10 * (8 + 8),
    ),
    "attention layer in evaluation": lambda: (
        nn.MultiheadAttention(32, 4, batch_first=True).eval(), (meta(2, 10, 32),) * 3, attended(10, 10),
    ),
    "attention from one sequence to another": lambda: (
        nn.MultiheadAttention(32, 4, batch_first=True), (meta(2, 7, 32), meta(2, 10, 32), meta(2, 10, 32)),
        attended(7, 10),
    ),
    "encoder in evaluation": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval(), (meta(2, 10, 32),),
        2 * (attended(10, 10) + 2 * 2 * 10 * 32 * 64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.filterwarnings("ignore")
def test_products_have_their_closed_form(name: str) -> None:
    module, args, macs = PRODUCTS[name]()
    cost = measure_cost(module, args)
    assert cost.macs == macs
    assert cost.uncounted == ()
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    assert cost.method in (("fake", "real") if recurrent else ("meta",))
    assert_adds_up(cost)


@pytest.mark.parametrize(
    "name", ["encoder in evaluation", "LSTM of two layers", "GRU", "attention layer in evaluation"]
)
def test_a_real_run_of_whole_layer_kernels_counts_the_same(name: str) -> None:
    """Kernels that the CPU keeps whole, oneDNN's recurrent layers and the encoder's fast path, against meta tensors."""
    module, args, macs = PRODUCTS[name]()
    tensors = tuple(torch.zeros(arg.shape) for arg in args if isinstance(arg, Tensor))
    looks_at_values = Forward(lambda m, *inputs: (m.inner(*inputs), inputs[0].sum().item()), inner=module)
    cost = measure_cost(looks_at_values.train(module.training), tensors)
    assert (cost.method, cost.macs, cost.uncounted) == ("real", macs, ())


def linear_under(context: Callable[[], object]) -> Forward:
    def forward(self: Forward, x: Tensor) -> Tensor:
        with context():  # type: ignore[attr-defined]
            return self.layer(x)

    return Forward(forward, layer=nn.Linear(8, 3))


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_gradient_modes_do_not_change_the_count(context: Callable[[], object]) -> None:
    module, plain = linear_under(context), measure_cost(nn.Linear(8, 3), (meta(6, 8),))
    for outside in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with outside():
            cost = measure_cost(module, (torch.zeros(6, 8),))
        assert (cost.macs, cost.flops, cost.bytes_moved) == (plain.macs, plain.flops, plain.bytes_moved)


def test_inference_mode_takes_composite_operators_apart() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()  # fmt: skip
    inside = Forward(lambda m, x: torch.inference_mode()(m.network)(x), network=network)
    assert measure_cost(inside, (meta(2, 4, 16, 16),)).macs == measure_cost(network, (meta(2, 4, 16, 16),)).macs > 0


def test_checkpointing_counts_the_forward_that_it_runs_again() -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
    plain = measure_cost(layers, (meta(6, 8),), training=True)
    reentrant = Forward(lambda m, x: checkpoint(m.layers, x, use_reentrant=True), layers=layers)
    again = measure_cost(reentrant, (meta(6, 8),), training=True)
    assert (plain.macs, again.macs) == (3 * 2 * 384, 4 * 2 * 384)
    assert again.forward_macs == plain.forward_macs
    assert {module.path: module.calls for module in again.modules}["layers.0"] == 2
    saving = Forward(lambda m, x: checkpoint(m.layers, x, use_reentrant=False), layers=layers)
    early_stop = measure_cost(saving, (meta(6, 8),), training=True)
    assert early_stop.macs == 4 * 2 * 384
    assert_adds_up(early_stop)


def test_autocast_casts_operands_and_halves_the_traffic_of_products() -> None:
    layer, x = nn.Linear(64, 64, bias=False), torch.zeros(128, 64)
    plain, cast = measure_cost(layer, (x,)), measure_cost(layer, (x,), autocast=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = measure_cost(layer, (x,))
    inside = measure_cost(Forward(lambda m, y: torch.autocast("cpu", torch.bfloat16)(m.layer)(y), layer=layer), (x,))
    assert plain.macs == cast.macs == around.macs == inside.macs
    assert plain.method == "meta"
    product = {operator.name: operator.bytes_moved for operator in cast.operators}
    assert product["aten::mm"] * 2 == plain.bytes_moved
    assert product["aten::_to_copy"] == (x.numel() + layer.weight.numel()) * (4 + 2)
    for other in (around, inside):
        assert (other.method, other.bytes_moved) == ("fake", cast.bytes_moved)


def test_containers_of_inputs_and_outputs() -> None:
    def forward(self: Forward, pair: dict[str, Tensor], *, scale: Tensor) -> dict[str, object]:
        return {"first": self.layer(pair["x"]), "rest": [pair["y"] * scale, (pair["x"],)]}

    module = Forward(forward, layer=nn.Linear(8, 3))
    cost = measure_cost(module, ({"x": meta(6, 8), "y": meta(4)},), {"scale": meta(4)}, training=True)
    assert cost.forward_macs == 6 * 8 * 3
    assert cost.macs == 3 * 6 * 8 * 3
    assert cost.modules[0].output_shapes == ((6, 3), (4,), (6, 8))


def test_several_inputs_each_ask_for_their_gradient() -> None:
    cost = measure_cost(Forward(lambda _, a, b: a @ b), (meta(5, 6), meta(6, 7)), training=True)
    assert cost.macs == 3 * 5 * 6 * 7


def test_sampling_counts_apart_from_macs() -> None:
    cost = measure_cost(
        Forward(lambda _, x, g: F.grid_sample(x, g, align_corners=False)), (meta(2, 4, 8, 8), meta(2, 5, 6, 2))
    )
    assert (cost.macs, cost.sampling_macs) == (0, 4 * 2 * 4 * 5 * 6)
    bicubic = Forward(lambda _, x, g: F.grid_sample(x, g, mode="bicubic", align_corners=False))
    assert measure_cost(bicubic, (meta(2, 4, 8, 8), meta(2, 5, 6, 2))).sampling_macs == 16 * 2 * 4 * 5 * 6
    volume = Forward(lambda _, x, g: F.grid_sample(x, g, align_corners=False))
    assert measure_cost(volume, (meta(2, 4, 8, 8, 8), meta(2, 5, 6, 7, 3))).sampling_macs == 8 * 2 * 4 * 5 * 6 * 7


def test_torchvision_deformable_convolution() -> None:
    ops = pytest.importorskip("torchvision.ops")
    layer = ops.DeformConv2d(4, 8, 3, padding=1)
    cost = measure_cost(layer, (meta(2, 4, 8, 8), meta(2, 18, 8, 8)))
    assert (cost.macs, cost.sampling_macs) == (2 * 64 * 4 * 8 * 9, 4 * 2 * 64 * 4 * 9)
    trained = measure_cost(layer, (meta(2, 4, 8, 8), meta(2, 18, 8, 8)), training=True)
    assert trained.macs == 3 * cost.macs
    assert not trained.uncounted


def test_dynamically_quantised_linear_is_not_zero() -> None:
    network = nn.Sequential(nn.Linear(8, 5))
    with warnings.catch_warnings():  # later torch warns that it will go
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
    cost = measure_cost(quantised, (torch.zeros(6, 8),))
    assert (cost.macs, cost.method, cost.uncounted) == (6 * 8 * 5, "real", ())


@pytest.mark.filterwarnings("ignore")
def test_scripted_and_compiled_modules_count_as_what_they_were_made_from() -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    for made in (torch.jit.script(layers), torch.compile(layers)):
        cost = measure_cost(made, (torch.zeros(6, 8),))
        assert cost.macs == 6 * 8 * 8


def test_unregistered_tensors_are_counted_and_ask_for_no_gradient() -> None:
    fixed = torch.zeros(3, 8)
    cost = measure_cost(Forward(lambda _, x: F.linear(x, fixed)), (meta(6, 8),), training=True)
    assert (cost.macs, cost.forward_macs, cost.method) == (2 * 144, 144, "meta")


EVERYDAY = nn.Sequential(
    nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.BatchNorm2d(4), nn.GELU(),
    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softmax(1), nn.LogSoftmax(1), nn.PReLU(), nn.ELU(), nn.SELU(), nn.CELU(),
    nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.ReLU6(), nn.LeakyReLU(), nn.RReLU(), nn.Softplus(),
    nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(), nn.Hardshrink(), nn.LogSigmoid(), nn.Sigmoid(), nn.Tanh(),
    nn.Threshold(0.1, 0.0),
    nn.ReLU(inplace=True), nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.ZeroPad2d(1), nn.ReflectionPad2d(1),
    nn.ReplicationPad2d(1), nn.AvgPool2d(2), nn.MaxPool2d(3, 1, 1), nn.LPPool2d(2, 2), nn.AdaptiveAvgPool2d(5),
    nn.AdaptiveMaxPool2d(4), nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.Upsample(scale_factor=2, mode="bicubic"), nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2),
    nn.LocalResponseNorm(2), nn.Flatten(2), nn.LayerNorm(1024), nn.RMSNorm(1024), nn.Unflatten(2, (32, 32)),
    nn.GLU(1), nn.Flatten(),
)  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
def test_everyday_layers_have_figures_and_no_macs(training: bool) -> None:
    cost = measure_cost(EVERYDAY, (meta(2, 4, 16, 16),), training=training)
    assert cost.uncounted == ()
    assert (cost.macs, cost.method) == (0, "meta")
    assert cost.flops > 0
    assert {operator.kind for operator in cost.operators} == {Kind.ELEMENTWISE, Kind.ZERO_COST}
    assert_adds_up(cost)


@pytest.mark.parametrize("layer", [nn.LSTM(8, 16, bidirectional=True), nn.LSTM(8, 16, proj_size=4), nn.GRU(8, 16)])
@pytest.mark.parametrize("training", [False, True])
def test_shapes_and_values_give_recurrent_layers_the_same_figures(layer: nn.Module, training: bool) -> None:
    """The kernel that the CPU runs, gates precomputed for all steps, also where only shapes are given."""
    looks = Forward(lambda m, x: (m.inner(x)[0], x.sum().item())[0], inner=layer)
    real = measure_cost(looks, (torch.zeros(7, 3, 8),), training=training)
    for x in (torch.zeros(7, 3, 8), meta(7, 3, 8)):
        shapes = measure_cost(layer.to(x.device), (x,), training=training)
        assert (shapes.method, real.method) == ("fake", "real")
        assert (shapes.macs, abs(shapes.bytes_moved - real.bytes_moved) < 0.03 * real.bytes_moved) == (real.macs, True)
        layer.to_empty(device="cpu")
