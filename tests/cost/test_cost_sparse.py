"""Products with sparse matrices: the elements that are kept are multiplied, and read with their indices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convbench.measures.cost import Cost, CostError, measure_cost
from tests.cost.costing import Forward, assert_adds_up, meta

RING = torch.eye(6) + torch.eye(6).roll(1, 0)  # 12 elements of 36, two in each row and column

LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "coo": RING.to_sparse,
    "csr": RING.to_sparse_csr,
    "csc": RING.to_sparse_csc,
    "bsr": lambda: RING.to_sparse_bsr((2, 2)),
}
# Blocks of 2×2 on the diagonal, and those above it that hold the ring's other elements: 6 of 9 are kept.
KEPT = {"coo": 12, "csr": 12, "csc": 12, "bsr": 24}
STORED = {
    "coo": 12 * 4 + 2 * 12 * 8,
    "csr": 12 * 4 + 12 * 8 + 7 * 8,
    "csc": 12 * 4 + 12 * 8 + 7 * 8,
    "bsr": 24 * 4 + 6 * 8 + 4 * 8,
}


def counted(product: Callable[[Tensor, Tensor], object], matrix: Tensor, x: Tensor, *, training: bool = False) -> Cost:
    module = Forward(lambda m, x: product(m.matrix, x), matrix=matrix)
    cost = measure_cost(module, (x,), training=training)
    assert cost.uncounted == ()
    assert_adds_up(cost)
    return cost


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_product_meets_the_elements_kept(layout: str) -> None:
    cost = counted(torch.matmul, LAYOUTS[layout](), torch.zeros(6, 5))
    assert (cost.macs, cost.method) == (KEPT[layout] * 5, "real")
    assert cost.bytes_moved == STORED[layout] + 2 * 6 * 5 * 4
    assert "depends on values" in (cost.reason or "")


@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
@pytest.mark.parametrize(
    ("product", "columns"),
    [
        (torch.matmul, 5),
        (torch.sparse.mm, 5),
        (lambda a, x: torch.sparse.addmm(x, a, x), 5),
        (lambda a, x: x.t() @ a, 5),
        (lambda a, x: a @ x[:, 0], 1),
    ],
)
def test_the_dense_factors_gradient_costs_as_much(
    layout: str, product: Callable[[Tensor, Tensor], object], columns: int
) -> None:
    matrix = LAYOUTS[layout]()
    assert counted(product, matrix, torch.zeros(6, 5)).macs == 12 * columns
    assert counted(product, matrix, torch.zeros(6, 5), training=True).macs == 2 * 12 * columns


def test_two_sparse_factors_meet_where_a_column_and_a_row_do() -> None:
    for layout in (RING.to_sparse, RING.to_sparse_csr):
        assert counted(lambda a, _: a @ a, layout(), torch.zeros(1)).macs == 6 * 2 * 2


def test_batches_of_sparse_matrices() -> None:
    stack = torch.stack([RING, torch.eye(6)]).to_sparse()
    assert counted(torch.bmm, stack, torch.zeros(2, 6, 5), training=True).macs == 2 * 18 * 5


def test_the_gradient_of_a_sparse_weight_is_formed_where_it_is_kept() -> None:
    weight = nn.Parameter(RING.to_sparse_csr())
    cost = measure_cost(
        Forward(lambda m, x: torch.sparse.mm(m.weight, x), weight=weight), (torch.zeros(6, 5),), training=True
    )
    assert cost.macs == 3 * 12 * 5


def test_reduced_products_and_sampled_ones() -> None:
    csr = RING.to_sparse_csr()
    assert counted(lambda a, x: torch.sparse.mm(a, x, "mean"), csr, torch.zeros(6, 5), training=True).macs == 120
    assert counted(lambda a, x: torch.sparse.sampled_addmm(a, x, x.t()), csr, torch.zeros(6, 5)).macs == 12 * 5


def test_a_matrix_made_on_the_way() -> None:
    module = Forward(lambda m, x: x.relu().to_sparse() @ m.layer.weight, layer=nn.Linear(5, 7))
    cost = measure_cost(module, (torch.eye(7),))
    assert (cost.macs, cost.method) == (7 * 5, "real")


def test_without_values_there_is_no_count() -> None:
    with pytest.raises(CostError, match="depends on values"):
        counted(torch.matmul, RING.to_sparse(), meta(6, 5))
