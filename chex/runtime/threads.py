"""Runs small computations on one thread: where other processes are busy, threads that wait for each other cost most."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits BLAS, OpenMP and torch to one thread inside the block."""
    import torch  # slow, and a command that imports this module may not need it

    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
