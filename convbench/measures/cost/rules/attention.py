"""Fused attention kernels. On meta tensors scaled_dot_product_attention arrives as its plain products instead.

Masks, causal ones too, are counted dense: what a kernel skips is its own affair.
"""

from __future__ import annotations

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import UncountedCallError, rule

SOFTMAX_FLOPS = 5  # maximum, subtraction, exponential, sum, division


@rule(
    "aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_fused_attention_overrideable",
)  # fmt: skip
def attention(query: Shape, key: Shape, value: Shape, *rest: object, out: object, **options: object) -> Amount:
    """Q·Kᵀ and P·V: B·heads·queries·keys·(d + d_value); the scores are scaled, masked and normalised."""
    scores = query[0] * query[1] * query[2] * key[2]
    masks = sum(isinstance(item, Shape) for item in (*rest, *options.values()))
    return Amount(macs=scores * (query[3] + value[3]), other_flops=scores * (1 + masks + SOFTMAX_FLOPS))


@rule(
    "aten::_scaled_dot_product_flash_attention_backward", "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    "aten::_scaled_dot_product_efficient_attention_backward", "aten::_scaled_dot_product_cudnn_attention_backward",
    "aten::_scaled_dot_product_fused_attention_overrideable_backward",
)  # fmt: skip
def attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: object, out: object, **__: object
) -> Amount:
    """Q·Kᵀ once more (fused kernels keep no scores), then the gradients of P, V, Q and K: five products.

    Besides: Σ grad·out for each query; scale, subtract, exponential, subtract, multiply, scale for each score.
    """
    scores = query[0] * query[1] * query[2] * key[2]
    return Amount(macs=scores * (3 * query[3] + 2 * value[3]), other_flops=2 * grad.numel() + 6 * scores)


def _heads_first(shape: Shape) -> Shape:
    """(batch, tokens, heads, d) → (batch, heads, tokens, d); packed sequences of several lengths have no figure."""
    if len(shape) != 4:
        raise UncountedCallError
    return Shape((shape[0], shape[2], shape[1], shape[3]), shape.dtype)


@rule("aten::_flash_attention_forward", "aten::_efficient_attention_forward")
def token_major_attention(query: Shape, key: Shape, value: Shape, *_: object, out: object, **__: object) -> Amount:
    """As `attention`, with the heads after the tokens."""
    return attention(_heads_first(query), _heads_first(key), _heads_first(value), out=out)


@rule("aten::_flash_attention_backward", "aten::_efficient_attention_backward")
def token_major_attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: object, out: object, **__: object
) -> Amount:
    """As `attention_backward`, with the heads after the tokens."""
    return attention_backward(grad, _heads_first(query), _heads_first(key), _heads_first(value), out=out)


def _self_attention(tokens: int, keys: int, batch: int, width: int, heads: int, *, masked: bool) -> Amount:
    """Input projections, attention over ``heads``, output projection, with biases."""
    scores = batch * heads * tokens * keys
    queries, pairs = batch * tokens, batch * keys
    projections = (2 * queries + 2 * pairs) * width * width
    biases = (2 * queries + 2 * pairs) * width
    return Amount(
        macs=projections + 2 * batch * tokens * keys * width,
        other_flops=biases + scores * (1 + masked + SOFTMAX_FLOPS),
    )


@rule("aten::_native_multi_head_attention")
def multi_head_attention(
    query: Shape, key: Shape, _value: Shape, width: int, heads: int, _qkv_weight: Shape, _qkv_bias: Shape,
    _proj_weight: Shape, _proj_bias: Shape, mask: Shape | None = None, *_: object, out: object,
) -> Amount:  # fmt: skip
    """nn.MultiheadAttention's fast path in evaluation; (batch, tokens, width)."""
    return _self_attention(query[1], key[1], query[0], width, heads, masked=mask is not None)


@rule("aten::_transformer_encoder_layer_fwd")
def transformer_encoder_layer(
    x: Shape, width: int, heads: int, _qkv_weight: Shape, _qkv_bias: Shape, _proj_weight: Shape, _proj_bias: Shape,
    use_gelu: bool, _norm_first: bool, _eps: float, _norm1_weight: Shape, _norm1_bias: Shape, _norm2_weight: Shape,
    _norm2_bias: Shape, wide_weight: Shape, _wide_bias: Shape, _narrow_weight: Shape, _narrow_bias: Shape,
    mask: Shape | None = None, *_: object, out: object,
) -> Amount:  # fmt: skip
    """nn.TransformerEncoderLayer's fast path: attention, two linear layers, two norms, two residuals, an activation."""
    batch, tokens, _width = x
    inner = _self_attention(tokens, tokens, batch, width, heads, masked=mask is not None)
    rows, hidden = batch * tokens, wide_weight[0]
    activation = rows * hidden * (5 if use_gelu else 1)
    norms = 2 * (7 * rows * width + 4 * rows)
    biases_and_residuals = rows * hidden + 3 * rows * width
    return Amount(
        macs=inner.macs + 2 * rows * width * hidden,
        other_flops=inner.other_flops + activation + norms + biases_and_residuals,
    )
