"""Recurrent layers where a backend keeps them whole; on meta tensors they arrive as products and element-wise steps."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.measures.cost.amount import Amount, Shape
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
    _reverse: bool, _batch_sizes: object, mode: int, hidden: int, *_: object, out: object,
) -> Amount:  # fmt: skip
    """One direction of one layer: every step multiplies both matrices; x is (time, batch, in)."""
    steps = x[0] * x[1]
    return Amount(macs=steps * (w_input.numel() + w_hidden.numel()), other_flops=steps * hidden * _STEP[mode])


@rule("aten::mkldnn_rnn_layer_backward")
def one_layer_backward(x: Shape, w_input: Shape, w_hidden: Shape, *_: object, out: object) -> Amount:
    """Each matrix's gradient and each operand's: twice the forward; the steps' own arithmetic likewise."""
    steps = x[0] * x[1]
    return Amount(
        macs=2 * steps * (w_input.numel() + w_hidden.numel()), other_flops=2 * steps * w_hidden[-1] * LSTM_STEP
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
