"""Recurrent layers where a backend keeps them whole; on meta tensors they arrive as products and element-wise steps."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.measures.cost.amount import Amount, Packed, Shape
from convbench.measures.cost.table import Kind, rule

# Element-wise operations of one hidden unit in one step besides the products: sums of the gates' two halves and their
# two biases, sigmoids (4), tanhs (1), and the update. ATen's modes: 0 ReLU, 1 tanh, 2 LSTM, 3 GRU.
LSTM_STEP = 4 * 3 + 3 * 4 + 2 * 1 + 4
GRU_STEP = 3 * 3 + 2 * 4 + 1 + 4
PLAIN_STEP = 3 + 1
_STEP = {0: PLAIN_STEP, 1: PLAIN_STEP, 2: LSTM_STEP, 3: GRU_STEP}


@rule("aten::mkldnn_rnn_layer")
def one_layer(
    x: Shape, w_input: Shape, w_hidden: Shape, _b_input: Shape, _b_hidden: Shape, _hx: Shape, _cx: Shape,
    _reverse: bool, _batch_sizes: object, mode: int, hidden: int, *_: object, out: Sequence[Shape | None],
) -> Amount:  # fmt: skip
    """One direction of one layer: every step multiplies both matrices; x is (time, batch, in).

    What the library keeps for the backward pass in a form of its own has a size that only a real run tells: its bytes
    are left out.
    """
    steps = x[0] * x[1]
    return Amount(
        macs=steps * (w_input.numel() + w_hidden.numel()),
        other_flops=steps * hidden * _STEP[mode],
        extra_bytes=0 if out[3] is None else -out[3].nbytes,
    )


@rule("aten::mkldnn_rnn_layer_backward")
def one_layer_backward(x: Shape, w_input: Shape, w_hidden: Shape, *rest: object, out: object) -> Amount:
    """Each matrix's gradient and each operand's: twice the forward; the steps' own arithmetic likewise."""
    steps, kept = x[0] * x[1], rest[-1]
    return Amount(
        macs=2 * steps * (w_input.numel() + w_hidden.numel()),
        other_flops=2 * steps * w_hidden[-1] * LSTM_STEP,
        extra_bytes=-kept.nbytes if isinstance(kept, Shape) else 0,
    )


@rule("aten::_cudnn_rnn", "aten::miopen_rnn")
def whole_stack(
    x: Shape, weights: Sequence[Shape], _stride0: int, _packed: object, _hx: Shape, _cx: object, mode: int, hidden: int,
    *_: object, out: object,
) -> Amount:  # fmt: skip
    """Every matrix of every layer and direction is multiplied once a step."""
    steps = x[0] * (x[1] if len(x) == 3 else 1)
    matrices = [weight for weight in weights if len(weight) == 2]
    units = sum(weight[0] for weight in matrices) // (2 * _gates(mode))
    return Amount(macs=steps * sum(weight.numel() for weight in matrices), other_flops=steps * units * _STEP[mode])


@rule("aten::_cudnn_rnn_backward", "aten::miopen_rnn_backward")
def whole_stack_backward(
    x: Shape, weights: Sequence[Shape], stride0: int, packed: object, hx: Shape, cx: object, _output: Shape,
    _grad_output: object, _grad_hidden: object, _grad_cell: object, mode: int, hidden: int, *_: object, out: object,
) -> Amount:  # fmt: skip
    """Each matrix's gradient and each operand's: twice the forward."""
    forward = whole_stack(x, weights, stride0, packed, hx, cx, mode, hidden, out=out)
    return Amount(macs=2 * forward.macs, other_flops=2 * forward.other_flops)


def _gates(mode: int) -> int:
    return {2: 4, 3: 3}.get(mode, 1)


@rule("aten::_thnn_fused_lstm_cell", kind=Kind.ELEMENTWISE)
def lstm_cell(_input_gates: Shape, _hidden_gates: Shape, cell: Shape, *_: object, out: object) -> Amount:
    """The element-wise part of one step, after the two products."""
    return Amount(other_flops=cell.numel() * LSTM_STEP)


@rule("aten::_thnn_fused_gru_cell", kind=Kind.ELEMENTWISE)
def gru_cell(_input_gates: Shape, _hidden_gates: Shape, state: Shape, *_: object, out: object) -> Amount:
    """The element-wise part of one step, after the two products."""
    return Amount(other_flops=state.numel() * GRU_STEP)


@rule("aten::quantized_lstm", kind=Kind.INTEGER)
def quantized_lstm(x: Shape, *rest: object, out: object, **_options: object) -> Amount:
    """Every matrix of every layer and direction is multiplied once a step; gates are real numbers."""
    return _quantized_stack(x, rest, LSTM_STEP)


@rule("aten::quantized_gru", kind=Kind.INTEGER)
def quantized_gru(x: Shape, *rest: object, out: object) -> Amount:
    """As `quantized_lstm`."""
    return _quantized_stack(x, rest, GRU_STEP)


def _quantized_stack(x: Shape, rest: Sequence[object], step_flops: int) -> Amount:
    """x: (time, batch, in) in either order, or (elements, in) of a packed sequence."""
    lists = (item for item in rest if isinstance(item, list))
    cells = next(item for item in lists if item and isinstance(item[0], tuple) and isinstance(item[0][0], Packed))
    steps = x[0] * (x[1] if len(x) == 3 else 1)
    hidden = sum(of_state.weight[-1] for _of_input, of_state in cells)
    macs = sum(part.weight.numel() for cell in cells for part in cell)
    return Amount(macs=steps * macs, other_flops=steps * hidden * step_flops)


def _quantized_cell(x: Shape, of_input: Packed, of_state: Packed, step_flops: int) -> Amount:
    return Amount(
        macs=x[0] * (of_input.weight.numel() + of_state.weight.numel()),
        other_flops=x[0] * of_state.weight[-1] * step_flops,
    )


@rule("quantized::quantized_lstm_cell_dynamic", kind=Kind.INTEGER)
def quantized_lstm_cell(x: Shape, _hx: object, of_input: Packed, of_state: Packed, *_: object, out: object) -> Amount:
    """One step of one layer."""
    return _quantized_cell(x, of_input, of_state, LSTM_STEP)


@rule("quantized::quantized_gru_cell_dynamic", kind=Kind.INTEGER)
def quantized_gru_cell(x: Shape, _hx: object, of_input: Packed, of_state: Packed, *_: object, out: object) -> Amount:
    """One step of one layer."""
    return _quantized_cell(x, of_input, of_state, GRU_STEP)


@rule("quantized::quantized_rnn_relu_cell_dynamic", "quantized::quantized_rnn_tanh_cell_dynamic", kind=Kind.INTEGER)
def quantized_plain_cell(x: Shape, _hx: object, of_input: Packed, of_state: Packed, *_: object, out: object) -> Amount:
    """One step of one layer."""
    return _quantized_cell(x, of_input, of_state, PLAIN_STEP)
