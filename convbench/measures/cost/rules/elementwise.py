"""Floating-point operations of element-wise functions, for each element of the result.

Conventions. One addition, subtraction, multiplication, division, comparison, maximum, minimum, rounding, square root or
elementary function (exp, log, sin, tanh, erf, pow, …) is one operation. A composed function costs the operations of the
definition in its row, common subexpressions once. Picking one of two values by a condition is free, the comparison that
makes the condition is not. Arithmetic on integers and booleans is no floating-point operation and counts nothing.
Complex elements: an addition is two operations, a multiplication six (four products, two sums), a division eleven
(the product with the conjugate, a squared modulus, two quotients), a modulus four, an exponential five (exp, cos, sin,
two products), a sign six; other complex functions have no figure and are reported as uncounted. Where one operand is
real (a number that is no ``complex`` included) a multiplication and a division by it are two, an addition one.
"""

from __future__ import annotations

from collections.abc import Sequence

from convbench.measures.cost.amount import Amount, Shape, first_shape, shapes_in
from convbench.measures.cost.table import Kind, UncountedCallError, rule

ARITHMETIC = (
    "add", "sub", "rsub", "mul", "div", "neg", "abs", "maximum", "minimum", "fmax", "fmin", "max.other",
    "min.other", "sqrt", "rsqrt", "reciprocal", "square", "pow", "exp", "exp2", "expm1", "log", "log2", "log10",
    "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "atan2", "erf", "erfc", "erfinv", "lgamma", "digamma", "polygamma", "i0", "special_i0e", "special_i1",
    "special_i1e", "special_erfcx", "special_ndtri", "sign", "sgn", "floor", "ceil", "round", "trunc", "fmod",
    "remainder", "hypot", "copysign", "heaviside", "angle", "eq", "ne", "lt", "le", "gt", "ge", "relu", "clamp_min",
    "clamp_max", "threshold", "isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit",
    "nan_to_num", "ldexp", "igamma", "igammac", "nextafter", "conj_physical", "_conj_physical",
)  # fmt: skip
"""One operation an element; ``threshold`` compares and picks."""

INTEGER_ONLY = (
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_not", "bitwise_left_shift", "bitwise_right_shift", "__and__", "__or__", "__xor__", "__lshift__",
    "__rshift__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__", "gcd", "lcm",
)  # fmt: skip
"""Conditions and bit patterns: element-wise, no floating-point operation."""

COMPOSED = {
    "_add_relu": 2,  # max(a + b, 0)
    "celu": 7,  # max(x, 0) + min(α·(exp(x/α) − 1), 0)
    "linalg_cross": 3,  # a·d − b·c
    "fake_quantize_per_tensor_affine_cachemask": 7,  # (min(max(round(x/s) + z, low), high) − z)·s
    "fake_quantize_per_channel_affine_cachemask": 7,
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": 7,
    "frac": 2,  # x − trunc(x)
    "lerp": 3,  # a + w·(b − a)
    "sinc": 3,  # sin(πx)/(πx)
    "logit": 3,  # log(x / (1 − x))
    "logaddexp": 4,  # log(exp(a) + exp(b))
    "logaddexp2": 4,  # log2(exp2(a) + exp2(b))
    "xlogy": 2,  # x·log(y)
    "special_xlog1py": 2,  # x·log1p(y)
    "special_entr": 3,  # −x·log(x)
    "polar": 4,  # (r·cos φ, r·sin φ)
    "deg2rad": 1,  # x·(π/180)
    "rad2deg": 1,  # x·(180/π)
    "floor_divide": 2,  # floor(a / b)
    "sigmoid": 4,  # 1 / (1 + exp(−x))
    "log_sigmoid_forward": 5,  # −log(1 + exp(−x))
    "silu": 5,  # x·sigmoid(x)
    "mish": 5,  # x·tanh(log(1 + exp(x)))
    "hardtanh": 2,  # min(max(x, a), b)
    "relu6": 2,  # min(max(x, 0), 6)
    "hardsigmoid": 4,  # min(max(x + 3, 0), 6) / 6
    "hardswish": 5,  # x·min(max(x + 3, 0), 6) / 6
    "leaky_relu": 2,  # x where x > 0, else a·x
    "_prelu_kernel": 2,  # a is trained
    "rrelu_with_noise": 2,  # a is drawn
    "hardshrink": 2,  # x where |x| > λ
    "softshrink": 5,  # sign(x)·max(|x| − λ, 0)
    "glu": 5,  # a·sigmoid(b), for each element of the result
    "native_dropout": 2,  # x·mask·(1 / keep)
    "_fused_dropout": 2,
}
"""Operations of the definition beside each name."""

_COMPLEX = {
    "add": 2, "sub": 2, "rsub": 2, "neg": 2, "mul": 6, "div": 11, "reciprocal": 6, "square": 6, "abs": 4, "eq": 2,
    "ne": 2, "conj_physical": 1, "_conj_physical": 1, "polar": 4, "exp": 5, "angle": 1, "sgn": 6,
}  # fmt: skip


_COMPLEX_AND_REAL = {"add": 1, "sub": 1, "rsub": 1, "mul": 2, "div": 2}
"""With a real second operand."""


def is_complex(operand: object) -> bool:
    """Whether an operand, a tensor or a number, has an imaginary part."""
    return operand.dtype.is_complex if isinstance(operand, Shape) else isinstance(operand, complex)


def _complex_operations(name: str, args: Sequence[object]) -> int:
    """Operations an element of a function of complex numbers, one operand of which may be real."""
    if name == "mul" and not all(map(is_complex, args[:2])):
        return _COMPLEX_AND_REAL["mul"]
    if len(args) > 1 and not is_complex(args[1]) and name in _COMPLEX_AND_REAL:
        return _COMPLEX_AND_REAL[name]
    if name == "div" and not is_complex(args[0]):
        return 7  # the conjugate's two parts scaled, a squared modulus, two quotients
    if name not in _COMPLEX:
        raise UncountedCallError
    return _COMPLEX[name]


def is_floating(arguments: object, out: object) -> bool:
    """Whether any operand or result is a floating-point tensor: else there is nothing to count."""
    return any(shape.is_float for shape in (*shapes_in(arguments), *shapes_in(out)))


def _enter(name: str, operations: int) -> None:
    @rule(f"aten::{name}", kind=Kind.ELEMENTWISE)
    def per_element(*args: object, out: object, **_: object) -> Amount:
        shapes = (*shapes_in(args), *shapes_in(out))
        count = operations
        if any(shape.dtype.is_complex for shape in shapes):
            count = _complex_operations(name, args)
        return Amount(other_flops=count * first_shape(out).numel() if is_floating(shapes, None) else 0)


for _name in ARITHMETIC:
    _enter(_name, 1)
for _name, _operations in COMPOSED.items():
    _enter(_name, _operations)
for _name in INTEGER_ONLY:
    _enter(_name, 0)


def _scaled(name: str, default: object, argument: str) -> None:
    plain = "aten::" + name
    forms = (plain,) if name == "rsub" else (plain, plain + "_")

    @rule(*(f"{form}.{operand}" for form in forms for operand in ("Tensor", "Scalar")), kind=Kind.ELEMENTWISE)
    def scaled_sum(a: object, b: object, *scale: object, out: Shape, **options: object) -> Amount:
        """a ± alpha·b: one operation more where alpha is given."""
        alpha = scale[0] if scale else options.get(argument, default)
        scaling, term = (2, 2) if is_complex(b) else (1, 1)
        if is_complex(b) and not is_complex(alpha):
            scaling = 2
        if out.dtype.is_complex and is_complex(a) != is_complex(b):
            term = 1
        operations = term + (scaling if alpha != default else 0)
        return Amount(other_flops=operations * out.numel() if is_floating((a, b), out) else 0)


for _name in ("add", "sub", "rsub"):
    _scaled(_name, 1, "alpha")


@rule("aten::div.Tensor_mode", "aten::div_.Tensor_mode", "aten::div.Scalar_mode", kind=Kind.ELEMENTWISE)
def rounded_division(a: object, b: object, *, rounding_mode: str | None = None, out: Shape) -> Amount:
    """A quotient, and its rounding where one is asked for."""
    operations = 1 if rounding_mode is None else 2
    return Amount(other_flops=operations * out.numel() if is_floating((a, b), out) else 0)


@rule("aten::clamp", kind=Kind.ELEMENTWISE)
def clamp(x: Shape, low: object = None, high: object = None, *, out: Shape) -> Amount:
    """One comparison for each bound given."""
    bounds = (low is not None) + (high is not None)
    return Amount(other_flops=bounds * out.numel() if out.is_float else 0)


@rule("aten::addcmul", "aten::addcdiv", kind=Kind.ELEMENTWISE)
def added_elementwise(x: Shape, a: Shape, b: Shape, *, value: object = 1, out: Shape) -> Amount:
    """x + value·a·b, x + value·a/b."""
    if out.dtype.is_complex:
        raise UncountedCallError
    return Amount(other_flops=(2 if value == 1 else 3) * out.numel() if out.is_float else 0)


@rule("aten::elu", kind=Kind.ELEMENTWISE)
def elu(x: Shape, alpha: object = 1, scale: object = 1, input_scale: object = 1, *, out: Shape) -> Amount:
    """max(x, 0) + min(α·(exp(x) − 1), 0); CELU and SELU scale the exponent or the whole."""
    return Amount(other_flops=(6 + (scale != 1) + (input_scale != 1)) * out.numel())


@rule("aten::softplus", kind=Kind.ELEMENTWISE)
def softplus(x: Shape, beta: object = 1, _threshold: object = 20, *, out: Shape) -> Amount:
    """log(1 + exp(x)); with β: log(1 + exp(β·x)) / β."""
    return Amount(other_flops=(3 if beta == 1 else 5) * out.numel())


@rule("aten::gelu", kind=Kind.ELEMENTWISE)
def gelu(x: Shape, *, approximate: str = "none", out: Shape) -> Amount:
    """x·½·(1 + erf(x/√2)): 5; tanh form ½·x·(1 + tanh(c·(x + k·x·x·x))): 9."""
    return Amount(other_flops=(9 if approximate == "tanh" else 5) * out.numel())
