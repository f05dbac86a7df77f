"""Memory: running out of the device's, told in the config's words; giving back the host's."""

import contextlib
import ctypes
import gc

_M_ARENA_MAX = -8  # of mallopt, in malloc.h


def share_one_heap() -> None:
    """Lets all threads allocate from one heap; call it before there are many.

    glibc gives each thread a heap of its own, and none is ever used up before the next is enlarged:
    a run with evaluations and checkpoints grew by 4 % in 1,500 steps, and with one heap not at all.
    """
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Returns freed memory to the system, where the C library can.

    Saving and evaluating free what many threads have allocated; glibc keeps that, in pieces, and a
    run of days would grow.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
