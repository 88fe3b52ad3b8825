"""Operators without floating-point arithmetic, and those that only add up what they move.

Sorting compares keys in an order that depends on them; its comparisons are not counted. Drawing random numbers is not
floating-point arithmetic either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import Kind, Reads, rule, zero_cost


def _aten(names: str) -> Iterable[str]:
    return (f"aten::{name}" for name in names.split())


# Neither reads nor writes elements.
zero_cost(
    _aten(
        "empty empty_like empty_strided empty_permuted empty_quantized new_empty new_empty_strided resize "
        "resize_as set_ _unsafe_view unsafe_split unsafe_split_with_sizes _reshape_alias _conj _neg_view lift "
        "lift_fresh _nested_tensor_size is_same_size _assert_async _assert_tensor_metadata sym_size sym_numel "
        "sym_stride sym_storage_offset sym_is_contiguous _functional_assert_async _version is_pinned "
        "record_stream alias _linalg_check_errors _has_same_storage_numel _efficientzerotensor _assert_scalar "
        "_functional_assert_scalar sym_constrain_range sym_constrain_range_for_size "
        "_functional_sym_constrain_range _functional_sym_constrain_range_for_size _make_dep_token squeeze_ "
        "is_coalesced _coalesced _indices _values indices values crow_indices col_indices ccol_indices row_indices "
        "_nnz sparse_dim dense_dim unsqueeze_ t_ transpose_ as_strided_ swapaxes_ swapdims_ detach_"
    ),
    reads=Reads.NOTHING,
    writes=False,
)
# Write only.
zero_cost(
    _aten(
        "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full fill zero scalar_tensor "
        "arange linspace logspace eye tril_indices triu_indices rand randn randint randperm rand_like randn_like "
        "randint_like normal uniform random bernoulli exponential geometric cauchy log_normal bartlett_window "
        "hann_window hamming_window blackman_window kaiser_window fft_fftfreq fft_rfftfreq range poisson binomial "
        "_standard_gamma _sample_dirichlet"
    ),
    reads=Reads.NOTHING,
)
zero_cost(_aten("copy"), reads=Reads.SOURCE)
# Of a table, only what is picked is read.
zero_cost(
    _aten("embedding index_select gather take index _unsafe_index _unsafe_masked_index"),
    reads=Reads.PICKED,
)
zero_cost(
    _aten(
        "clone _to_copy cat stack hstack vstack dstack where masked_fill masked_scatter masked_select "
        "slice_scatter select_scatter diagonal_scatter as_strided_scatter slice_backward "
        "select_backward diagonal_backward constant_pad_nd roll flip rot90 repeat tril triu im2col pixel_shuffle "
        "pixel_unshuffle channel_shuffle native_channel_shuffle nonzero nonzero_static sort topk argsort kthvalue "
        "median nanmedian mode unique_dim _unique2 _unique unique_consecutive bincount searchsorted bucketize "
        "multinomial any all is_nonzero equal _local_scalar_dense item one_hot _pin_memory view_as_real_copy "
        "permute_copy expand_copy reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
        "replication_pad2d replication_pad3d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d unfold_copy complex "
        "_reshape_copy split_copy split_with_sizes_copy unbind_copy slice_copy select_copy diag_embed block_diag "
        "count_nonzero isin _pad_packed_sequence _pack_padded_sequence repeat_interleave max_unpool2d "
        "max_unpool3d histc quantize_per_tensor dequantize _amp_update_scale _to_dense to_mkldnn "
        "mkldnn_reorder_conv2d_weight view_copy as_strided_copy alias_copy detach_copy diagonal_copy "
        "lift_fresh_copy narrow_copy squeeze_copy t_copy transpose_copy unsqueeze_copy values_copy "
        "view_as_complex_copy _conj_copy _neg_view_copy _lazy_clone _chunk_cat _stack _is_all_true _is_any_true "
        "allclose masked_scatter_backward frexp _to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc "
        "sparse_mask _sparse_coo_tensor_with_dims _sparse_coo_tensor_with_dims_and_tensors "
        "_sparse_compressed_tensor_with_dims _validate_sparse_coo_tensor_args _validate_sparse_compressed_tensor_args"
    )
)
zero_cost(("quantized::linear_prepack", "quantized::conv2d_prepack", "torchvision::nms"))


@rule("aten::index_copy", kind=Kind.ZERO_COST)
def index_copy(_x: Shape, _dim: int, _index: Shape, source: Shape, *, out: Shape) -> Amount:
    """In place, the rows that are replaced are written."""
    return Amount(touched=source.numel())


@rule("aten::index_fill", kind=Kind.ZERO_COST)
def index_fill(x: Shape, dim: int, index: Shape, *_: object, out: Shape) -> Amount:
    """In place, the rows that are filled are written."""
    return Amount(touched=index.numel() * x.numel() // max(1, x[dim]) if x else 1)


@rule("aten::scatter", kind=Kind.ZERO_COST)
def scatter(_x: Shape, _dim: int, index: Shape, *_: object, out: Shape) -> Amount:
    """In place, one element for each index is written."""
    return Amount(touched=index.numel())


@rule("aten::put", kind=Kind.ZERO_COST)
def put(_x: Shape, index: Shape, *_: object, out: Shape) -> Amount:
    """In place, one element for each index is written."""
    return Amount(touched=index.numel())


@rule("aten::_coalesce", kind=Kind.ELEMENTWISE)
def coalesce(x: Shape, *, out: Shape) -> Amount:
    """Elements kept for the same place are added."""
    return Amount(other_flops=max(0, x.numel() - out.numel()))


@rule("aten::index_add", kind=Kind.ELEMENTWISE)
def index_add(_x: Shape, _dim: int, _index: Shape, source: Shape, *, alpha: object = 1, out: Shape) -> Amount:
    """One sum for each element of the source, scaled by alpha if one is given."""
    sums = source.numel() * (1 if alpha == 1 else 2) if out.is_float else 0
    return Amount(other_flops=sums, touched=source.numel(), updates=True)


@rule(
    "aten::scatter_add", "aten::scatter_reduce", "aten::scatter.reduce", "aten::scatter_.reduce",
    "aten::scatter_.value_reduce", "aten::scatter.value_reduce", kind=Kind.ELEMENTWISE,
)  # fmt: skip
def scatter_add(_x: Shape, _dim: int, index: Shape, *_: object, out: Shape, **__: object) -> Amount:
    """One sum (or product, or comparison) for each index."""
    return Amount(other_flops=index.numel() if out.is_float else 0, touched=index.numel(), updates=True)


@rule("flex_lib::zeros_and_scatter", kind=Kind.ELEMENTWISE)
def scatter_into_zeros(_sizes: object, _indices: object, values: Shape, *, out: Shape) -> Amount:
    """The gradient of what a score function of flex_attention reads: one sum for each value."""
    return Amount(other_flops=values.numel() if out.is_float else 0)


@rule("aten::index_reduce", kind=Kind.ELEMENTWISE)
def index_reduce(_x: Shape, _dim: int, _index: Shape, source: Shape, *_: object, out: Shape, **__: object) -> Amount:
    """One product, mean or comparison for each element of the source."""
    return Amount(other_flops=source.numel() if out.is_float else 0, touched=source.numel(), updates=True)


@rule("aten::embedding_dense_backward", "aten::col2im", "aten::unfold_backward", kind=Kind.ELEMENTWISE)
def gathered_sums(grad: Shape, *_: object, out: Shape) -> Amount:
    """Each incoming element is added to the one it came from."""
    return Amount(other_flops=grad.numel() if out.is_float else 0)


@rule("aten::index_put", "aten::_index_put_impl", "aten::_unsafe_index_put", kind=Kind.ELEMENTWISE)
def index_put(
    x: Shape, indices: Sequence[Shape | None], values: Shape, accumulate: bool = False, *_: object, out: Shape
) -> Amount:
    """Nothing, unless values accumulate: then one sum for each element addressed, which is read as well.

    A condition as an index addresses as many elements as there are values; where there is one value, at most all.
    """
    given = [index for index in indices if index is not None]
    if any(index.dtype in (torch.bool, torch.uint8) for index in given):
        touched = values.numel() if values.numel() > 1 else x.numel()
    else:
        addressed = prod(torch.broadcast_shapes(*given))  # type: ignore[no-untyped-call]
        touched = addressed * prod(size for axis, size in enumerate(x) if axis >= len(indices) or indices[axis] is None)
    return Amount(other_flops=touched if accumulate and out.is_float else 0, touched=touched, updates=accumulate)


@rule("aten::_embedding_bag", "aten::_embedding_bag_forward_only", kind=Kind.ELEMENTWISE, reads=Reads.PICKED)
def embedding_bag(
    weight: Shape, indices: Shape, _offsets: Shape, _scale: bool = False, mode: int = 0, _sparse: bool = False,
    per_sample_weights: Shape | None = None, *_: object, out: Sequence[Shape],
) -> Amount:  # fmt: skip
    """Every row picked is added to its bag, weighted where weights are given; a mean divides (mode 1)."""
    each = 2 if per_sample_weights is not None else 1
    return Amount(other_flops=each * indices.numel() * weight[-1] + (out[0].numel() if mode == 1 else 0))


@rule("aten::_embedding_bag_dense_backward", "aten::_embedding_bag_backward", kind=Kind.ELEMENTWISE)
def embedding_bag_backward(grad: Shape, indices: Shape, *_: object, out: object) -> Amount:
    """Every row picked receives its bag's gradient, scaled: a product and a sum an element."""
    return Amount(other_flops=2 * indices.numel() * grad[-1])


@rule("aten::_embedding_bag_per_sample_weights_backward", kind=Kind.ELEMENTWISE)
def embedding_bag_weights_backward(grad: Shape, _weight: Shape, indices: Shape, *_: object, out: object) -> Amount:
    """Each weight's gradient is a product of its row and its bag's gradient."""
    return Amount(other_flops=2 * indices.numel() * grad[-1])
