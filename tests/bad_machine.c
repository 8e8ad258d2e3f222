/* A machine whose clock jumps and whose disk is slow, for LD_PRELOAD; see test_chaos_machine.py.

   CHAOS_CLOCK names a file that holds a double: the seconds by which the clock is wrong, read at each call.
   CHAOS_DISK_MS is how long the disk takes for each fsync, rename and positioned write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const double *offset = NULL;
static unsigned disk_us = 0;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CLOCK"), *ms = getenv("CHAOS_DISK_MS");
    int handle = path ? open(path, O_RDONLY) : -1;
    if (handle >= 0) {
        void *content = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, handle, 0);
        offset = content == MAP_FAILED ? NULL : content;
        close(handle);
    }
    disk_us = ms ? 1000 * (unsigned)atoi(ms) : 0;
}

static double now(void) {
    struct timespec time;
    static int (*real)(clockid_t, struct timespec *) = NULL;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + time.tv_nsec / 1e9 + (offset ? *offset : 0);
}

int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *) = NULL;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, time);
    if (id == CLOCK_REALTIME && offset) {
        double wrong = now();
        time->tv_sec = (time_t)wrong;
        time->tv_nsec = (long)((wrong - (double)time->tv_sec) * 1e9);
    }
    return code;
}

int gettimeofday(struct timeval *time, void *zone) {
    (void)zone;
    double wrong = now();
    time->tv_sec = (time_t)wrong;
    time->tv_usec = (suseconds_t)((wrong - (double)time->tv_sec) * 1e6);
    return 0;
}

time_t time(time_t *result) {
    time_t wrong = (time_t)now();
    if (result) *result = wrong;
    return wrong;
}

#define SLOW(type, name, parameters, arguments)                   \
    type name parameters {                                        \
        static type(*real) parameters = NULL;                     \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        if (disk_us) usleep(disk_us);                             \
        return real arguments;                                    \
    }

SLOW(int, fsync, (int handle), (handle))
SLOW(int, fdatasync, (int handle), (handle))
SLOW(int, rename, (const char *from, const char *to), (from, to))
SLOW(ssize_t, pwrite, (int handle, const void *bytes, size_t n, off_t at), (handle, bytes, n, at))
SLOW(ssize_t, pwrite64, (int handle, const void *bytes, size_t n, off64_t at), (handle, bytes, n, at))
