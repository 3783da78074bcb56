"""Limits a process to its share of a GPU's memory, and frees that memory at the end of a run."""

import ctypes
import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from chex.errors import InputError

CUDA_CONTEXT_BYTES = 600 * 2**20
"""Bytes of GPU memory that CUDA itself takes in each process: context, kernels and library handles. An estimate: the
number differs between GPUs and drivers. Torch's limit does not count them."""
GIB = 2**30


def usable_bytes(share: float, total: int) -> int:
    """Returns the bytes that torch may allocate in a process with `share` of a GPU of `total` bytes.

    A share below 1 is reduced by CUDA_CONTEXT_BYTES; a whole GPU is not limited. Raises InputError if nothing is left.
    """
    if share >= 1:
        return total
    usable = int(share * total) - CUDA_CONTEXT_BYTES
    if usable <= 0:
        raise InputError(
            f"resources.gpus_per_trial: {share:g} of a GPU of {total / GIB:.1f} GiB is {share * total / GIB:.2f} GiB, "
            f"and CUDA itself takes about {CUDA_CONTEXT_BYTES / GIB:.2f} GiB in each process; raise it"
        )
    return usable


def limit_gpu_memory(share: float) -> None:
    """Limits the memory of this process to `share` of its GPU (see `usable_bytes`). Call it before any allocation.

    An allocation beyond the limit raises torch.OutOfMemoryError here and does not disturb other processes on the GPU.
    Does nothing for a share of 0, for a whole GPU, and if torch sees no GPU.
    """
    if 0 < share < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(usable_bytes(share, total) / total)


@contextmanager
def free_gpu_memory() -> Iterator[None]:
    """When the block ends, normally or by an exception, frees the memory that it has allocated.

    Drops the local variables of the functions that the block called, but not those of the function with the block.
    """
    try:
        yield
    except BaseException as error:
        _clear_tracebacks(error)
        raise
    finally:
        _free()


def _clear_tracebacks(error: BaseException) -> None:
    """Drops the local variables that the tracebacks of `error` and its causes keep alive, such as a model."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def _free() -> None:
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # torch keeps compiled models, and after a few of them compiles no more
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, and more for each thread that trained
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
