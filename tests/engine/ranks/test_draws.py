from collections.abc import Callable

import pytest
import torch

from engine.errors import BuildError
from engine.ranks.draws import BlockDraws, mixed
from engine.ranks.products import BlockProducts

ROWS = 32
DRAWS: dict[str, Callable[[int, torch.Generator], torch.Tensor]] = {
    "rand": lambda rows, rng: torch.rand((rows, 3), generator=rng),
    "rand of sizes": lambda rows, rng: torch.rand(rows, 3, generator=rng),
    "randn": lambda rows, rng: torch.randn(torch.Size((rows, 2)), generator=rng),
    "randint": lambda rows, rng: torch.randint(3, 9, (rows,), generator=rng),
    "random_": lambda rows, rng: torch.empty(rows, dtype=torch.int64).random_(0, 50, generator=rng),
    "uniform_": lambda rows, rng: torch.empty(rows, 4).uniform_(generator=rng),
    "bernoulli": lambda rows, rng: torch.bernoulli(torch.full((rows,), 0.5), generator=rng),
    "second axis": lambda rows, rng: torch.rand((2, rows), generator=rng).T,
}


def drawn(
    draw: Callable[[int, torch.Generator], torch.Tensor], blocks: range, tick: int = 7, call: int = 0
) -> torch.Tensor:
    stream = torch.Generator().manual_seed(11)
    mode = BlockDraws(torch.device("cpu"), ROWS)
    mode.begin(stream, tick, call, blocks)
    with mode:
        return draw(ROWS * len(blocks), stream)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_a_block_draws_the_same_whoever_has_its_rows(draw: Callable[[int, torch.Generator], torch.Tensor]):
    whole = drawn(draw, range(4))
    assert torch.equal(torch.cat([drawn(draw, range(2)), drawn(draw, range(2, 4))]), whole)
    assert not torch.equal(whole[:ROWS], whole[ROWS : 2 * ROWS])  # blocks differ
    assert not torch.equal(drawn(draw, range(4), tick=8), whole) and not torch.equal(
        drawn(draw, range(4), call=1), whole
    )


def test_a_permutation_leaves_every_number_in_its_block():
    order = drawn(lambda rows, rng: torch.randperm(rows, generator=rng), range(3))
    for block in range(3):
        assert sorted(order[block * ROWS : (block + 1) * ROWS].tolist()) == list(
            range(block * ROWS, (block + 1) * ROWS)
        )


def test_what_has_no_rows_is_drawn_once_and_the_same_in_every_process():
    one = drawn(lambda rows, rng: torch.rand(5, generator=rng), range(2))
    assert torch.equal(one, drawn(lambda rows, rng: torch.rand(5, generator=rng), range(2, 4)))


def test_the_stream_itself_does_not_move():
    stream = torch.Generator().manual_seed(11)
    before, mode = stream.get_state(), BlockDraws(torch.device("cpu"), ROWS)
    mode.begin(stream, 1, 0, range(2))
    with mode:
        torch.rand((64, 2), generator=stream)
    assert torch.equal(stream.get_state(), before)


def test_draws_of_another_stream_are_left_alone():
    other, mode = torch.Generator().manual_seed(5), BlockDraws(torch.device("cpu"), ROWS)
    mode.begin(torch.Generator(), 1, 0, range(2))
    with mode:
        found = torch.rand(64, generator=other)
    assert torch.equal(found, torch.rand(64, generator=torch.Generator().manual_seed(5)))


def test_a_draw_that_cannot_be_cut_is_refused():
    with pytest.raises(BuildError, match=r"torch\.normal.*which cannot be cut into blocks of rows"):
        drawn(lambda rows, rng: torch.normal(0.0, torch.ones(rows), generator=rng), range(2))


def test_seeds_of_neighbours_share_no_pattern():
    seeds = {
        mixed(seed, tick, call, block)
        for seed in (0, 1)
        for tick in range(30)
        for call in (0, 1)
        for block in range(30)
    }
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == 2 * 30 * 2 * 30
    assert abs(sum(bin(seed & 0xFFFFFFFF).count("1") for seed in seeds) / len(seeds) - 16.0) < 0.2


PRODUCTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "matmul": lambda x: x @ W,
    "three axes": lambda x: torch.matmul(x.view(-1, 2, 16), W[:16, :9]),
    "linear": lambda x: torch.nn.functional.linear(x, W.T, W[0]),
    "bmm": lambda x: torch.bmm(x.view(-1, 4, 8), x.view(-1, 8, 4)),
    "addmm": lambda x: torch.addmm(W[0], x, W),
    "einsum": lambda x: torch.einsum("rk,kj->rj", x, W),
    "mv": lambda x: torch.mv(x, W[:, 0]),
}
W = torch.randn(32, 48, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_a_product_is_made_of_products_of_blocks(product: Callable[[torch.Tensor], torch.Tensor]):
    rows = torch.randn(128, 32, generator=torch.Generator().manual_seed(4))
    mode = BlockProducts(128, ROWS)
    with mode:
        whole = product(rows)
    assert mode.seen
    assert torch.equal(whole, torch.cat([product(part) for part in rows.split(ROWS)]))
    assert torch.allclose(whole, product(rows), rtol=1e-5, atol=1e-5)


def test_a_product_without_rows_is_left_alone():
    mode = BlockProducts(128, ROWS)
    with mode:
        assert torch.equal(W.T @ W, W.T.mm(W))
    assert not mode.seen
