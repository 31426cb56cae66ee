"""The thread pool: the same numbers with any number of threads, each call on one."""

import threading

import pytest
import torch

from systems.learning.threads import pieces, thread_pool


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_calls_come_back_in_order_and_compute_on_one_thread_without_gradients(threads: int):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), thread_pool() as run:
            seen = run(lambda a, b: (a + b, torch.get_num_threads(), torch.is_grad_enabled()), [1, 2, 3], [10, 20, 30])
        assert seen == [(11, 1, False), (22, 1, False), (33, 1, False)]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_two_calls_run_at_once_where_there_are_threads_for_them():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        meeting = threading.Barrier(2, timeout=30.0)
        with thread_pool() as run:
            run(lambda _: meeting.wait(), [0, 1])  # a single thread would wait here for ever
    finally:
        torch.set_num_threads(before)


def test_a_call_that_fails_says_so_and_the_setting_is_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), thread_pool() as run:
            run(lambda x: 1 / x, [1, 0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("samples", "lengths"), [(1, [1]), (6, [3, 3]), (8, [4, 4]), (9, [3, 3, 3]), (30, [4] * 7 + [2])]
)
def test_pieces_are_two_or_more_unless_there_is_little_and_none_is_too_long(samples: int, lengths: list[int]):
    parts = pieces(torch.arange(samples), 4)
    assert [len(part) for part in parts] == lengths
    assert torch.cat(parts).tolist() == list(range(samples))
