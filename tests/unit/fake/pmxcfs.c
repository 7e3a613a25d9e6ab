/* pmxcfs for one process: LD_PRELOAD this and set PMXCFS to a folder.
 *
 * Below it: chmod and chown to anything give EPERM, hard links EPERM, symlinks ENOSYS, a rename
 * from elsewhere EXDEV, files are 0640 and at most 1 MiB (EFBIG). With PMXCFS_NO_QUORUM set every
 * change gives EACCES, to root too. KILL_AT=N kills the process before the Nth call that changes
 * something anywhere, to look at what a crash leaves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int changes;

static void change(void)
{
    const char *at = getenv("KILL_AT");
    if (at && ++changes == atoi(at))
        raise(SIGKILL);
}

static int inside(const char *path)
{
    const char *root = getenv("PMXCFS");
    size_t length = root ? strlen(root) : 0;
    return root && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int fd_inside(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return inside(path);
}

static int refuse(int error)
{
    errno = error;
    return -1;
}

static int no_quorum(const char *path)
{
    return inside(path) && getenv("PMXCFS_NO_QUORUM");
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (flags & O_CREAT)
        change();
    if (no_quorum(path) && flags & (O_CREAT | O_TRUNC | O_WRONLY))
        return refuse(EACCES);
    return REAL(open64)(path, flags, inside(path) ? 0640 : mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (fd > 2)
        change();
    if (fd_inside(fd)) {
        struct stat seen;
        if (getenv("PMXCFS_NO_QUORUM"))
            return refuse(EACCES);
        if (!fstat(fd, &seen) && seen.st_size + (off_t)size > 1 << 20)
            return refuse(EFBIG);
    }
    return REAL(write)(fd, data, size);
}

int fsync(int fd)
{
    change();
    return REAL(fsync)(fd);
}

int rename(const char *from, const char *to)
{
    change();
    if (inside(from) != inside(to))
        return refuse(EXDEV);
    return no_quorum(to) ? refuse(EACCES) : REAL(rename)(from, to);
}

int unlink(const char *path)
{
    change();
    return no_quorum(path) ? refuse(EACCES) : REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode)
{
    change();
    return no_quorum(path) ? refuse(EACCES) : REAL(mkdir)(path, mode);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    change();
    return no_quorum(path) ? refuse(EACCES) : REAL(utimensat)(folder, path, times, flags);
}

int link(const char *from, const char *to)
{
    return inside(to) ? refuse(EPERM) : REAL(link)(from, to);
}

int symlink(const char *from, const char *to)
{
    return inside(to) ? refuse(ENOSYS) : REAL(symlink)(from, to);
}

int chmod(const char *path, mode_t mode)
{
    return inside(path) && mode != 0640 ? refuse(EPERM) : REAL(chmod)(path, mode);
}

int fchmod(int fd, mode_t mode)
{
    return fd_inside(fd) && mode != 0640 ? refuse(EPERM) : REAL(fchmod)(fd, mode);
}

int chown(const char *path, uid_t user, gid_t group)
{
    return inside(path) ? refuse(EPERM) : REAL(chown)(path, user, group);
}

int fchown(int fd, uid_t user, gid_t group)
{
    return fd_inside(fd) ? refuse(EPERM) : REAL(fchown)(fd, user, group);
}
