/* Lets a queue's disk fail when a test says so: loaded in front of libc by LD_PRELOAD.
 *
 * FAULTS_FILE holds "OPERATION ERRNO [OFFSET]", looked at in each call. An operation is write, head, sync, or a read of
 * the byte at OFFSET, of a file named data.mdb; a head is what makes a transaction the current one. FAULTS_LOG gets a line for each: operation, descriptor,
 * whether that can write, and the errno. An ERRNO of -1 has the call wait until the file says something else, one of -2
 * ends the thread that makes it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD_BYTES = 120, HANG = -1, DIE = -2 };

static int is_queue(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    char *name = strrchr(path, '/');
    return name && !strcmp(name, "/data.mdb");
}

/* What FAULTS_FILE wants of an operation, 0 for nothing. */
static int wish(const char *operation)
{
    char text[256] = "";
    int file = open(getenv("FAULTS_FILE"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (syscall(SYS_read, file, text, sizeof text - 1) < 0)
            abort();
        close(file);
    }
    char *found = strstr(text, operation);
    return found ? atoi(found + strlen(operation)) : 0;
}

/* The error that an operation is to end with, 0 for none. */
static int fault(const char *operation, int fd)
{
    char line[64];
    int wanted;
    if (!is_queue(fd))
        return 0;
    while ((wanted = wish(operation)) == HANG)
        usleep(10000);
    if (wanted == DIE)
        syscall(SYS_exit, 0);
    int log = open(getenv("FAULTS_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%s %d %d %d\n", operation, fd, (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY,
                          wanted);
    if (log >= 0) { /* there may be no descriptor left */
        if (syscall(SYS_write, log, line, length) != length)
            abort();
        close(log);
    }
    errno = wanted;
    return wanted;
}

/* A read is no line in the log: there are many. */
ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
    char text[256] = "";
    int error;
    long bad;
    int file = open(getenv("FAULTS_FILE"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (syscall(SYS_read, file, text, sizeof text - 1) < 0)
            abort();
        close(file);
    }
    if (sscanf(text, "read %d %ld", &error, &bad) == 2 && is_queue(fd) && offset <= bad &&
        bad < offset + (off64_t)length) {
        errno = error;
        return -1;
    }
    return syscall(SYS_pread64, fd, data, length, offset);
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
    return pread64(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    return fault(length == HEAD_BYTES ? "head" : "write", fd) ? -1 : syscall(SYS_pwrite64, fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return fault("write", fd) ? -1 : syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return fault("write", fd) ? -1 : syscall(SYS_writev, fd, parts, count);
}

int fdatasync(int fd)
{
    return fault("sync", fd) ? -1 : syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fault("sync", fd) ? -1 : syscall(SYS_fsync, fd);
}
