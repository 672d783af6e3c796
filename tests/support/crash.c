/* Ends a process in the midst of what it does to a queue's files: loaded in front of libc by LD_PRELOAD.
 *
 * After crash_at(DIRECTORY, N, HOW, PART) the Nth call that changes something in DIRECTORY is the last: the process is
 * killed before it, after it, or, where it writes, when PART of 256 parts of its bytes are written. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BEFORE, AFTER, TORN };

static char directory[4096];
static atomic_long calls_left;
static int how, part;

void crash_at(const char *where, long number, int when, int parts)
{
    snprintf(directory, sizeof directory, "%s", where);
    how = when;
    part = parts;
    atomic_store(&calls_left, number);
}

static void end(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Whether a call on `path` is the last. */
static int is_last(const char *path)
{
    return atomic_load(&calls_left) > 0 && !strncmp(path, directory, strlen(directory)) &&
           atomic_fetch_sub(&calls_left, 1) == 1;
}

static int is_last_on(int fd)
{
    char link[64], path[4096];
    if (atomic_load(&calls_left) <= 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_last(path);
}

#define CHANGES(last, call)    \
    do {                       \
        if (last) {            \
            if (how == AFTER)  \
                (void)!(call); \
            end();             \
        }                      \
        return call;           \
    } while (0)

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    if (is_last_on(fd)) {
        size_t left = 0;
        for (int i = 0; i < count; i++)
            left += parts[i].iov_len;
        left = how == BEFORE ? 0 : how == AFTER ? left : left * part / 256;
        for (int i = 0; i < count && left; i++) {
            size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
            syscall(SYS_pwrite64, fd, parts[i].iov_base, length, offset);
            offset += length;
            left -= length;
        }
        end();
    }
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    struct iovec whole = {(void *)data, length};
    return pwritev64(fd, &whole, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
    CHANGES(is_last_on(fd), syscall(SYS_write, fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    CHANGES(is_last_on(fd), syscall(SYS_writev, fd, parts, count));
}

int fdatasync(int fd)
{
    CHANGES(is_last_on(fd), syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
    CHANGES(is_last_on(fd), syscall(SYS_fsync, fd));
}

int ftruncate64(int fd, off64_t length)
{
    CHANGES(is_last_on(fd), syscall(SYS_ftruncate, fd, length));
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
    CHANGES(is_last_on(fd), syscall(SYS_fallocate, fd, 0, offset, length) ? errno : 0);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
    return posix_fallocate64(fd, offset, length);
}

int rename(const char *from, const char *to)
{
    CHANGES(is_last(from), syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int link(const char *from, const char *to)
{
    CHANGES(is_last(from), syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path)
{
    CHANGES(is_last(path), syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int mkdir(const char *path, mode_t mode)
{
    CHANGES(is_last(path), syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
