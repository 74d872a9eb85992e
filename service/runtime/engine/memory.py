"""What glibc and the kernel are told about the memory of this process."""

import ctypes
from pathlib import Path

# <malloc.h>: int mallopt(int param, int value)
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
# <asm-generic/mman-common.h>
MADV_DONTNEED = 4
# aoti_runtime/model_base.h: "weights_offset must be aligned to 16K boundary"
WEIGHTS_ALIGNMENT = 0x4000

_libc = ctypes.CDLL(None)


def limit_arenas(arenas: int) -> None:
    """Limit malloc to this many arenas, each of which keeps memory of its own.

    By default glibc makes up to eight for each core, one for each request's thread: 58 MB more after a load of 32
    connections, instead of 31 MB with three.
    """
    _libc.mallopt(M_ARENA_MAX, arenas)


def keep_large_blocks() -> None:
    """Let malloc keep the large blocks that were freed.

    Otherwise it maps them anew at every malloc and gives them back at every free: thousands of page faults a run.
    """
    _libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc takes
    _libc.mallopt(M_TRIM_THRESHOLD, 2**30)


def give_back() -> None:
    """Give back what was freed, also between blocks that are in use."""
    _libc.malloc_trim(0)


def drop_copied_weights(library: Path) -> None:
    """Give back the pages of the weights at the end of a compiled library; the library copied them when it was loaded.

    They are mapped writable and private, but never written: the next read gets them from the file.
    """
    size = library.stat().st_size
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, offset, _, inode, *_ = line.split(maxsplit=5)
        if int(inode) != library.stat().st_ino or permissions != "rw-p":
            continue
        start, end = (int(each, 16) for each in addresses.split("-"))
        # The library's own data comes before its section headers, so only the weights reach to the end of the file.
        if int(offset, 16) % WEIGHTS_ALIGNMENT == 0 and int(offset, 16) + end - start >= size:
            _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)
