"""A wall clock of its own for a program, that a test can set; the monotonic one goes on."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COMPILER = shutil.which("cc") or shutil.which("gcc")

# Put between the program and the C library. The offset is mapped from a file, so that it can be
# changed while the program runs.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long none = 0, *offset = &none;

__attribute__((constructor)) static void open_offset(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    void *mapped = mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += *offset;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (told) *told = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Clock:
    """The wall clock of whatever is started under it; right until it is set."""

    def __init__(self, directory: Path) -> None:
        assert COMPILER is not None
        self._offset = directory / "clock.offset"
        self._library = directory / "clock.so"
        source = directory / "clock.c"
        source.write_text(_SOURCE)
        subprocess.run(
            [COMPILER, "-shared", "-fPIC", "-O1", "-o", self._library, source, "-ldl"], check=True
        )
        self.set(0)

    @property
    def under(self) -> list[str]:
        """The command that starts another under this clock."""
        return ["env", f"LD_PRELOAD={self._library}", f"CLOCK_OFFSET={self._offset}"]

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the real one."""
        mode = "r+b" if self._offset.exists() else "wb"
        with self._offset.open(mode) as stream:
            stream.write(struct.pack("=q", seconds))
