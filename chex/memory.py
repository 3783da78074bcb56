"""A run's share of a GPU's memory: held to it while it runs, given back at its end."""

import ctypes
import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from chex.errors import InputError

CONTEXT = 600 * 2**20
"""Bytes that CUDA itself takes for a process that uses a GPU: context, kernels, handles of its libraries. An estimate:
it differs between GPUs and drivers, and torch's cap does not count it."""
GIB = 2**30


def allowance(share: float, total: int) -> int:
    """Bytes that torch may allocate in a process that has `share` of a GPU of `total` bytes to itself.

    What CUDA itself takes is off a share below 1, as the others' processes take theirs too; a whole GPU is not capped.
    Raises InputError where nothing would be left.
    """
    if share >= 1:
        return total
    left = int(share * total) - CONTEXT
    if left <= 0:
        raise InputError(
            f"resources.gpus_per_trial: {share:g} of a GPU of {total / GIB:.1f} GiB is {share * total / GIB:.2f} GiB, "
            f"and CUDA itself takes about {CONTEXT / GIB:.2f} GiB in each process; raise it"
        )
    return left


def hold_to_share(share: float) -> None:
    """Caps what this process may allocate to `share` of its GPU (see `allowance`); to be called before all else.

    More is then refused to this process, as torch.OutOfMemoryError, and not to its neighbours. Does nothing for a share
    of 0, for whole GPUs, and where torch sees no GPU.
    """
    if 0 < share < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(allowance(share, total) / total)


@contextmanager
def memory_freed() -> Iterator[None]:
    """What the block has allocated is given back when it ends, by an exception too: for processes that go on after it.

    Local variables of the functions that the block called are gone then; those of the caller of this are its own.
    """
    try:
        yield
    except BaseException as error:
        _forget_frames(error)
        raise
    finally:
        _free()


def _forget_frames(error: BaseException) -> None:
    """A traceback keeps every function's variables, and so a model and its activations."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def _free() -> None:
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # compiled models are kept, and after a few of them the next one is not compiled
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, and more for each thread that trained
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
