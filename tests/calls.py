"""Faults at calls of the C library, chosen by path: an error code, a delay, or death.

`tests.injected` does the same by strace, which stops a thread at each call and knows no paths.
This is a library put between the program and the C library; what it does is read from a file that
the test writes while the program runs, and what it has seen is counted there. Thousands of faults
need one start of the daemon.
"""

from __future__ import annotations

import mmap
import signal
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clock import COMPILER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clock import Clock

CALLS = (
    "open", "create", "read", "write", "copy", "sync", "rename", "link", "mkdir", "rmdir",
    "unlink", "truncate", "stat", "list", "utime",
)  # fmt: skip
"""What can be met; each stands for all functions that do it."""

_RULES = 16
_RULE = struct.Struct("=iiiiiiiiqq256s256s")  # as struct rule below

_SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum call {
    OPEN, CREATE, READ, WRITE, COPY, SYNC, RENAME, LINK, MKDIR, RMDIR, UNLINK, TRUNCATE, STAT,
    LIST, UTIME
};
enum who { ANYBODY, DAEMON, WORKER };

struct rule {
    int32_t armed, call, error, signal, first, last, who, us_per_mib;
    int64_t calls, hits;
    char path[256], target[256];
};

static struct rule *rules;
static enum who who = DAEMON;

__attribute__((constructor)) static void open_rules(void) {
    const char *name = getenv("CALLS_RULES");
    if (!name) return;
    int file = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC);
    size_t size = sizeof(struct rule) * @RULES@;
    void *mapped = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (mapped == MAP_FAILED) return;
    rules = mapped;
    char line[4096] = "";
    int own = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = syscall(SYS_read, own, line, sizeof line - 1);
    syscall(SYS_close, own);
    for (ssize_t at = 0; at < length; at++) if (!line[at]) line[at] = ' ';
    if (strstr(line, "edge_agent.engine.worker")) who = WORKER;
}

static const char *named(int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlink, link, into, PATH_MAX - 1);
    into[length > 0 ? length : 0] = 0;
    return into;
}

/* An absolute path, of one that may be relative to a directory. */
static const char *below(int directory, const char *path, char *into) {
    if (!path) return "";
    if (path[0] == '/') return path;
    char start[PATH_MAX];
    if (directory == AT_FDCWD) {
        ssize_t length = syscall(SYS_readlink, "/proc/self/cwd", start, sizeof start - 1);
        start[length > 0 ? length : 0] = 0;
    } else {
        named(directory, start);
    }
    snprintf(into, PATH_MAX, "%.2000s/%.2000s", start, path);
    return into;
}

static int wanted(enum call call) {
    if (!rules) return 0;
    for (int at = 0; at < @RULES@; at++)
        if (rules[at].armed && rules[at].call == (int)call) return 1;
    return 0;
}

/* Whether the call fails, with errno set. */
static int met(enum call call, const char *path, const char *target, size_t bytes) {
    int before = errno, failed = 0;
    for (int at = 0; at < @RULES@; at++) {
        struct rule *rule = &rules[at];
        if (!rule->armed || rule->call != (int)call) continue;
        if (rule->who != ANYBODY && rule->who != (int)who) continue;
        if (fnmatch(rule->path, path, FNM_EXTMATCH)) continue;
        if (rule->target[0] && fnmatch(rule->target, target ? target : "", FNM_EXTMATCH)) continue;
        int64_t number = __atomic_add_fetch(&rule->calls, 1, __ATOMIC_SEQ_CST);
        if (number < rule->first || (rule->last && number > rule->last)) continue;
        __atomic_add_fetch(&rule->hits, 1, __ATOMIC_SEQ_CST);
        if (rule->us_per_mib) usleep(((double)bytes / (1 << 20)) * rule->us_per_mib);
        if (rule->signal) syscall(SYS_kill, getpid(), rule->signal);
        if (rule->error) { before = rule->error; failed = 1; }
    }
    errno = before;
    return failed;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

#define AT(call, directory, path) \
    if (wanted(call)) { \
        char whole[PATH_MAX]; \
        if (met(call, below(directory, path, whole), 0, 0)) return -1; \
    }
#define ON(call, fd, bytes) \
    if (wanted(call)) { \
        char whole[PATH_MAX]; \
        if (met(call, named(fd, whole), 0, bytes)) return -1; \
    }
#define TWO(call, fromdir, from, todir, to) \
    if (wanted(call)) { \
        char whole[PATH_MAX], other[PATH_MAX]; \
        if (met(call, below(fromdir, from, whole), below(todir, to, other), 0)) return -1; \
    }

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        REAL(int, #name, const char *, int, ...) \
        AT(flags & O_CREAT ? CREATE : OPEN, AT_FDCWD, path) \
        return real(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)
#define OPENING_AT(name) \
    int name(int directory, const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        REAL(int, #name, int, const char *, int, ...) \
        AT(flags & O_CREAT ? CREATE : OPEN, directory, path) \
        return real(directory, path, flags, mode); \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

ssize_t read(int fd, void *to, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t) ON(READ, fd, size) return real(fd, to, size);
}
#define READING(name) \
    ssize_t name(int fd, void *to, size_t size, off_t where) { \
        REAL(ssize_t, #name, int, void *, size_t, off_t) ON(READ, fd, size) \
        return real(fd, to, size, where); \
    }
READING(pread)
READING(pread64)
ssize_t write(int fd, const void *from, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t) ON(WRITE, fd, size)
    return real(fd, from, size);
}
#define WRITING(name) \
    ssize_t name(int fd, const void *from, size_t size, off_t where) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t) ON(WRITE, fd, size) \
        return real(fd, from, size, where); \
    }
WRITING(pwrite)
WRITING(pwrite64)

#define COPYING(in, out, bytes) \
    if (wanted(COPY)) { \
        char whole[PATH_MAX], other[PATH_MAX]; \
        if (met(COPY, named(in, whole), named(out, other), bytes)) return -1; \
    }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned)
    COPYING(in, out, size)
    return real(in, from, out, to, size, flags);
}
#define SENDING(name) \
    ssize_t name(int out, int in, off_t *from, size_t size) { \
        REAL(ssize_t, #name, int, int, off_t *, size_t) COPYING(in, out, size) \
        return real(out, in, from, size); \
    }
SENDING(sendfile)
SENDING(sendfile64)

#define SYNCING(name) \
    int name(int fd) { REAL(int, #name, int) ON(SYNC, fd, 0) return real(fd); }
SYNCING(fsync)
SYNCING(fdatasync)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *)
    TWO(RENAME, AT_FDCWD, from, AT_FDCWD, to)
    return real(from, to);
}
int renameat(int fromdir, const char *from, int todir, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *)
    TWO(RENAME, fromdir, from, todir, to)
    return real(fromdir, from, todir, to);
}
int renameat2(int fromdir, const char *from, int todir, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned)
    TWO(RENAME, fromdir, from, todir, to)
    return real(fromdir, from, todir, to, flags);
}
int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *)
    TWO(LINK, AT_FDCWD, from, AT_FDCWD, to)
    return real(from, to);
}
int linkat(int fromdir, const char *from, int todir, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int)
    TWO(LINK, fromdir, from, todir, to)
    return real(fromdir, from, todir, to, flags);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t) AT(MKDIR, AT_FDCWD, path) return real(path, mode);
}
int mkdirat(int directory, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t) AT(MKDIR, directory, path)
    return real(directory, path, mode);
}
int rmdir(const char *path) {
    REAL(int, "rmdir", const char *) AT(RMDIR, AT_FDCWD, path) return real(path);
}
int unlink(const char *path) {
    REAL(int, "unlink", const char *) AT(UNLINK, AT_FDCWD, path) return real(path);
}
int unlinkat(int directory, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int)
    AT(flags & AT_REMOVEDIR ? RMDIR : UNLINK, directory, path)
    return real(directory, path, flags);
}
#define TRUNCATING(name) \
    int name(int fd, off_t size) { \
        REAL(int, #name, int, off_t) ON(TRUNCATE, fd, 0) return real(fd, size); \
    }
TRUNCATING(ftruncate)
TRUNCATING(ftruncate64)

#define STATTING(name, kind) \
    int name(const char *restrict path, struct kind *restrict to) { \
        REAL(int, #name, const char *, struct kind *) AT(STAT, AT_FDCWD, path) \
        return real(path, to); \
    }
STATTING(stat, stat)
STATTING(lstat, stat)
STATTING(stat64, stat64)
STATTING(lstat64, stat64)
#define STATTING_FD(name, kind) \
    int name(int fd, struct kind *to) { \
        REAL(int, #name, int, struct kind *) ON(STAT, fd, 0) return real(fd, to); \
    }
STATTING_FD(fstat, stat)
STATTING_FD(fstat64, stat64)
#define STATTING_AT(name, kind) \
    int name(int directory, const char *restrict path, struct kind *restrict to, int flags) { \
        REAL(int, #name, int, const char *, struct kind *, int) AT(STAT, directory, path) \
        return real(directory, path, to, flags); \
    }
STATTING_AT(fstatat, stat)
STATTING_AT(fstatat64, stat64)

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *)
    if (wanted(LIST)) {
        char whole[PATH_MAX];
        if (met(LIST, below(AT_FDCWD, path, whole), 0, 0)) return 0;
    }
    return real(path);
}
DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int)
    if (wanted(LIST)) {
        char whole[PATH_MAX];
        if (met(LIST, named(fd, whole), 0, 0)) return 0;
    }
    return real(fd);
}
int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
    REAL(int, "utimensat", int, const char *, const struct timespec *, int)
    AT(UTIME, directory, path)
    return real(directory, path, times, flags);
}
int futimens(int fd, const struct timespec times[2]) {
    REAL(int, "futimens", int, const struct timespec *) ON(UTIME, fd, 0) return real(fd, times);
}
"""


def build(directory: Path) -> Path:
    """Compile the library; where it is."""
    if COMPILER is None:
        pytest.skip("no C compiler, for faults at calls")
    library, source = directory / "calls.so", directory / "calls.c"
    source.write_text(_SOURCE.replace("@RULES@", str(_RULES)))
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Rule:
    """What happens at some calls, until it is cleared; and how many there were."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self._memory = memory
        self._at = place * _RULE.size

    @property
    def calls(self) -> int:
        """How many calls the rule was about, whether it touched them or not."""
        return int(_RULE.unpack_from(self._memory, self._at)[8])

    @property
    def hits(self) -> int:
        """How many it touched."""
        return int(_RULE.unpack_from(self._memory, self._at)[9])

    @property
    def armed(self) -> bool:
        return bool(_RULE.unpack_from(self._memory, self._at)[0])

    def clear(self) -> None:
        """Nothing happens any more; the counts stay."""
        struct.pack_into("=i", self._memory, self._at, 0)


class Calls:
    """The calls of whatever is started under it."""

    def __init__(self, rules: Path, library: Path) -> None:
        """Nothing happens yet.

        Args:
            rules: the file through which the program is told what happens.
            library: as `build` made it.
        """
        self._file = rules
        self._library = library
        self._file.write_bytes(bytes(_RULE.size * _RULES))
        with self._file.open("r+b") as stream:
            self._memory = mmap.mmap(stream.fileno(), 0)
        self._rules = [Rule(self._memory, place) for place in range(_RULES)]

    def under(self, clock: Clock | None = None) -> list[str]:
        """The command that starts another so that its calls can be met; under a clock, too."""
        own = [f"LD_PRELOAD={self._library}", f"CALLS_RULES={self._file}"]
        if clock is None:
            return ["env", *own]
        command, library, *more = clock.under
        return [command, f"{library}:{self._library}", *own[1:], *more]

    def meet(
        self,
        call: str,
        path: str | Path = "*",
        *,
        target: str | Path = "",
        error: int = 0,
        kill: bool = False,
        seconds_per_mib: float = 0.0,
        calls: tuple[int, int | None] = (1, None),
        who: str = "",
    ) -> Rule:
        """From now on, at each ``call`` about ``path``.

        Args:
            call: one of `CALLS`.
            path: a pattern of `fnmatch`, whose ``*`` takes in slashes, and with ``@(a|b)``; of
                where it is renamed, linked or copied from.
            target: where to; any, if empty.
            error: what the call fails with, not made; 0: it is made.
            kill: SIGKILL whoever makes the call, before it.
            seconds_per_mib: how long it takes longer.
            calls: the first and the last that is touched, counted from now on; None: for ever.
            who: ``daemon`` or ``worker``; empty: anybody.
        """
        free = next(rule for rule in self._rules if not rule.armed)
        first, last = calls
        _RULE.pack_into(
            self._memory,
            free._at,
            0,  # armed last, when all of the rule is there
            CALLS.index(call),
            error,
            signal.SIGKILL if kill else 0,
            first,
            last or 0,
            ("", "daemon", "worker").index(who),
            int(seconds_per_mib * 1e6),
            0,
            0,
            str(path).encode(),
            str(target).encode(),
        )
        struct.pack_into("=i", self._memory, free._at, 1)
        return free

    def clear(self) -> None:
        """Nothing happens any more, anywhere."""
        for rule in self._rules:
            rule.clear()

    def close(self) -> None:
        self._memory.close()
