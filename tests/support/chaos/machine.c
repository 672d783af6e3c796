/* Lets the machine under a program misbehave when a test says so: loaded in front of libc by LD_PRELOAD.
 *
 * MACHINE_FILE holds two 64-bit numbers, in the machine's byte order, which are looked at in each call: by how many
 * seconds the wall clock is wrong, and whether there are no more threads to be had. A thread that gets the signal
 * END_THREAD ends, wherever it is, and the others are not told. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { END_THREAD = 60 };

static volatile int64_t *wishes;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static void end_thread(int number)
{
    (void)number;
    syscall(SYS_exit, 0);
}

static void __attribute__((constructor)) begin(void)
{
    struct sigaction action = {.sa_handler = end_thread};
    sigaction(END_THREAD, &action, NULL);
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
    int file = open(getenv("MACHINE_FILE"), O_RDONLY | O_CLOEXEC);
    void *page = mmap(NULL, 2 * sizeof *wishes, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        abort();
    close(file);
    wishes = page;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real_clock_gettime)
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, now);
    if (!result && wishes && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += wishes[0];
    return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    (void)zone;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    if (wishes && wishes[1])
        return EAGAIN;
    return real_pthread_create(thread, attributes, run, argument);
}
