import numpy as np
import pytest
import torch

from engine.ranks.blocks import Blocks, halved, spans_within
from tests.engine.ranks.threads import ThreadRanks, together


def cut(values: torch.Tensor, blocks: int, ranks: ThreadRanks | None = None) -> tuple[Blocks, torch.Tensor]:
    size, rank = (ranks.size, ranks.rank) if ranks else (1, 0)
    own = values.view(size, -1, *values.shape[1:])[rank]
    return Blocks(rows=len(values) // blocks, count=blocks // size, ranks=ranks), own


def test_a_tree_divides_after_the_largest_power_of_two():
    assert [halved(0, n) for n in (2, 3, 4, 5, 6, 8, 12)] == [1, 2, 2, 4, 4, 4, 8]


@pytest.mark.parametrize(("count", "size"), [(8, 4), (12, 2), (12, 3), (6, 3), (5, 5), (7, 1)])
def test_the_subtrees_of_all_processes_cover_every_block_once(count: int, size: int):
    each = count // size
    spans = [span for rank in range(size) for span in spans_within(count, rank * each, each)]
    assert [block for low, high in spans for block in range(low, high)] == list(range(count))


@pytest.mark.parametrize(("count", "sizes"), [(8, (2, 4, 8)), (12, (2, 3, 4, 6)), (6, (3,))])
def test_a_sum_over_blocks_is_the_same_to_the_bit_for_any_number_of_processes(count: int, sizes: tuple[int, ...]):
    values = torch.randn(count, 1000, generator=torch.Generator().manual_seed(1)) * torch.logspace(-4, 4, 1000)
    blocks, own = cut(values, count)
    alone = blocks.total(list(own))
    assert np.allclose(alone.numpy(), values.double().sum(0).numpy(), rtol=1e-4, atol=1e-3)
    for size in sizes:

        def total(ranks: ThreadRanks) -> torch.Tensor:
            blocks, own = cut(values, count, ranks)
            return blocks.total(list(own))

        for found in together(size, total):
            assert torch.equal(found, alone)


def test_moments_over_processes_are_those_of_all_samples():
    values = 100.0 + torch.randn(256, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 5.0, 0.1])
    blocks, own = cut(values, 8)
    variance, mean = blocks.moments(own)
    wanted = values.double().numpy()
    assert np.allclose(mean.numpy(), wanted.mean(0), rtol=1e-6)
    assert np.allclose(variance.numpy(), wanted.var(0), rtol=1e-4)
    for found in together(4, lambda ranks: cut(values, 8, ranks)[0].moments(cut(values, 8, ranks)[1])):
        assert torch.equal(found[0], variance) and torch.equal(found[1], mean)


def test_rows_that_are_not_cut_are_summed_as_torch_does():
    values = torch.randn(64, 5, generator=torch.Generator().manual_seed(3))
    blocks = Blocks()
    assert torch.equal(blocks.moments(values)[0], values.var(0, correction=0))
    assert torch.equal(blocks.variance(values), values.var(correction=0))
    assert torch.equal(blocks.std_mean(values)[0], torch.std_mean(values, correction=0)[0])
    assert torch.equal(blocks.total([values[0], values[1]]), values[:2].sum(0))
    assert blocks.split(values) == (values,) and not blocks.kept


def test_a_function_of_every_block_sees_equal_shapes():
    seen = list[tuple[int, ...]]()

    def note(rows: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(rows.shape))
        return 2.0 * rows

    blocks, own = cut(torch.arange(256.0).view(128, 2), 4)
    assert torch.equal(blocks.mapped(note, own), 2.0 * own)
    assert seen == [(32, 2)] * 4
