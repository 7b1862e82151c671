/* Faults of a drive, at the n-th operation on files below one folder: loaded before the C library (LD_PRELOAD).

   Operations that change something: write, fsync, rename, unlink, mkdir, rmdir, the making of a file. Operations that
   read: read. Everything outside the folder goes through untouched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { CHANGE = 0, READ = 1 };
enum { COUNT = 0, KILL = 1, FULL = 2, BROKEN = 3, SHORT = 4 };

static char root[4096];
static int op = -1, how = COUNT;
static long at = 0, seen = 0;

void fault_arm(const char *folder, int operation, int kind, long n) {
    snprintf(root, sizeof root, "%s", folder);
    op = operation; how = kind; at = n; seen = 0;
}
long fault_seen(void) { return seen; }

static int below(const char *path) { return root[0] && strncmp(path, root, strlen(root)) == 0; }

static int of_handle(int fd) {
    char link[64], path[4096];
    if (op < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}
static int of_name(int dir, const char *path) {
    if (op < 0) return 0;
    if (path[0] == '/') return below(path);
    if (dir != AT_FDCWD) return of_handle(dir);
    char here[4096];
    return getcwd(here, sizeof here) && below(here);
}
/* 1 where the operation fails with errno set, 2 where it is cut short */
static int hit(int operation) {
    if (operation != op) return 0;
    seen++;
    if (how == COUNT || seen < at || (seen > at && how != FULL)) return 0;
    if (how == FULL) { errno = ENOSPC; return 1; }
    if (how == BROKEN) { errno = EIO; return 1; }
    return 2;
}
static void die(void) { kill(getpid(), SIGKILL); pause(); }

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (of_handle(fd)) {
        int fault = hit(CHANGE);
        if (fault == 1) return -1;
        if (fault == 2) { ssize_t done = real(fd, data, how == KILL ? n / 2 : (n + 1) / 2); if (how == KILL) die(); return done; }
    }
    return real(fd, data, n);
}
ssize_t read(int fd, void *data, size_t n) {
    REAL(ssize_t, "read", int, void *, size_t);
    if (of_handle(fd)) {
        int fault = hit(READ);
        if (fault == 1) return -1;
        if (fault == 2) { if (how == KILL) die(); return real(fd, data, (n + 1) / 2); }
    }
    return real(fd, data, n);
}
#define SIMPLE(name, decl, args, where) \
    int name decl { \
        static int (*real) decl; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (where) { int fault = hit(CHANGE); if (fault == 1) return -1; if (fault == 2 && how == KILL) die(); } \
        return real args; \
    }
SIMPLE(fsync, (int fd), (fd), of_handle(fd))
SIMPLE(rename, (const char *a, const char *b), (a, b), of_name(AT_FDCWD, b))
SIMPLE(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), of_name(e, b))
SIMPLE(unlink, (const char *a), (a), of_name(AT_FDCWD, a))
SIMPLE(unlinkat, (int d, const char *a, int f), (d, a, f), of_name(d, a))
SIMPLE(mkdir, (const char *a, mode_t m), (a, m), of_name(AT_FDCWD, a))
SIMPLE(mkdirat, (int d, const char *a, mode_t m), (d, a, m), of_name(d, a))
SIMPLE(rmdir, (const char *a), (a), of_name(AT_FDCWD, a))

#define OPEN(name, decl, args, dir) \
    int name decl { \
        static int (*real) decl; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        mode_t mode = 0; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        if ((flags & O_CREAT) && of_name(dir, path)) { int fault = hit(CHANGE); if (fault == 1) return -1; if (fault == 2 && how == KILL) die(); } \
        return real args; \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), dir)
OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), dir)
