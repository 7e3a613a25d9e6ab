/* Ways to a kernel file system. Each gives a descriptor of its root, or -1 and errno. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);
int umount2(const char *target, int flags);
#define DETACH 2

static int folder(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int mounted(const char *source, const char *target, const char *type, unsigned long flags)
{
	make_target(target);
	if (mount(source, target, type, flags, NULL))
		return -1;
	return folder(target);
}

int at_place(const struct row *row)
{
	return folder(row->what);
}

int at_path(const struct row *row)
{
	return open(row->what, O_PATH | O_CLOEXEC);
}

int by_mount(const struct row *row)
{
	return mounted("none", row->where, row->what, 0);
}

/* cgroup v1 without a controller: those are all on v2. */
int by_mount_named(const struct row *row)
{
	make_target(row->where);
	if (mount("none", row->where, row->what, 0, "none,name=attack"))
		return -1;
	return folder(row->where);
}

int by_mount_over(const struct row *row)
{
	if (mount("none", row->where, row->what, 0, NULL))
		return -1;
	return folder(row->where);
}

int by_remount(const struct row *row)
{
	/* The mount point first (bind), then the file system itself. */
	mount(NULL, row->where, NULL, MS_REMOUNT | MS_BIND, NULL);
	mount(NULL, row->what, NULL, MS_REMOUNT | MS_BIND, NULL);
	mount(NULL, row->what, NULL, MS_REMOUNT, NULL);
	return folder(row->what);
}

int by_umount(const struct row *row)
{
	umount2(row->where, DETACH);
	return folder(row->what);
}

int by_umount_mount(const struct row *row)
{
	umount2(row->where, DETACH);
	return by_mount_over(row);
}

int by_bind(const struct row *row)
{
	return mounted(row->what, row->where, NULL, MS_BIND);
}

int by_rbind(const struct row *row)
{
	return mounted(row->what, row->where, NULL, MS_BIND | MS_REC);
}

int by_move(const struct row *row)
{
	/* Only a mount point can be moved; LXC makes /proc/sys one in a privileged container. */
	mount(row->what, row->what, NULL, MS_BIND, NULL);
	return mounted(row->what, row->where, NULL, MS_MOVE);
}

int by_fsmount(const struct row *row)
{
	int context = syscall(SYS_fsopen, row->what, 0);
	int root;

	if (context < 0)
		return -1;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -1;
	root = syscall(SYS_fsmount, context, 0, 0);
	close(context);
	return root;
}

/* In a mount namespace that is gone: the kernel shows the file's path from its file system's root. */
int by_dead_namespace(const struct row *row)
{
	char path[128], ready;
	int channel[2], root;
	pid_t child;

	if (pipe(channel))
		return -1;
	child = fork();
	if (child == 0) {
		ready = unshare(CLONE_NEWNS) ? 'n' : 'y';
		if (write(channel[1], &ready, 1) == 1)
			pause();
		_exit(0);
	}
	if (read(channel[0], &ready, 1) != 1 || ready != 'y')
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/root%s", child, row->what);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return root;
}

/* A system call as 32-bit programs make it. All of this program is below 4 GiB: it is static. */
static int call_32bit(long number, long a, long b, const char *c, long d, long e)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

/* The new mount calls have the same numbers there. A seccomp policy has to know both kinds. */
int by_fsmount_32bit(const struct row *row)
{
	int context = call_32bit(SYS_fsopen, (long)row->what, 0, NULL, 0, 0);
	int root;

	if (context < 0 || call_32bit(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, 0, 0))
		return -1;
	root = call_32bit(SYS_fsmount, context, 0, NULL, 0, 0);
	close(context);
	return root;
}

static int move_to(int tree, const char *target)
{
	if (tree < 0)
		return -1;
	make_target(target);
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH))
		return -1;
	return folder(target);
}

int by_fsmount_moved(const struct row *row)
{
	return move_to(by_fsmount(row), row->where);
}

/* A new mount, and then one of its folders (row->path up to its last part) bound to
 * another place, so that the file is there under its last name only. */
int by_fsmount_bound(const struct row *row)
{
	char source[256];
	char *last;

	if (by_fsmount_moved(row) < 0)
		return -1;
	snprintf(source, sizeof(source), "%s/%s", row->where, row->path);
	last = strrchr(source, '/');
	*last = '\0';
	return mounted(source, "/mnt/attack-bound", NULL, MS_BIND);
}

int by_opentree(const struct row *row)
{
	return syscall(SYS_open_tree, AT_FDCWD, row->what, OPEN_TREE_CLONE | AT_RECURSIVE);
}

int by_opentree_moved(const struct row *row)
{
	return move_to(by_opentree(row), row->where);
}

int by_lazy_umount(const struct row *row)
{
	int root = folder(row->what);

	if (root < 0 || umount2(row->what, DETACH))
		return -1;
	return root;
}

int by_overlay(const struct row *row)
{
	char options[256];

	if (mounted("none", "/mnt/attack-over", "tmpfs", 0) < 0)
		return -1;
	make_target("/mnt/attack-over/upper");
	make_target("/mnt/attack-over/work");
	snprintf(options, sizeof(options),
		 "lowerdir=%s,upperdir=/mnt/attack-over/upper,workdir=/mnt/attack-over/work", row->what);
	make_target(row->where);
	if (mount("overlay", row->where, "overlay", 0, options))
		return -1;
	return folder(row->where);
}

/* A new root, with the old one, and so its /proc and /sys, at /old. */
int by_pivot(const struct row *row)
{
	char path[256];

	if (mounted("none", "/mnt/attack-root", "tmpfs", 0) < 0)
		return -1;
	make_target("/mnt/attack-root/old");
	if (syscall(SYS_pivot_root, "/mnt/attack-root", "/mnt/attack-root/old") || chdir("/"))
		return -1;
	snprintf(path, sizeof(path), "/old%s", row->what);
	return folder(path);
}

/* As above, and then a folder of the old /proc or /sys bound to the new root. */
int by_pivot_bound(const struct row *row)
{
	char path[256];

	if (by_pivot(row) < 0)
		return -1;
	snprintf(path, sizeof(path), "/old%s", row->what);
	return mounted(path, "/attack-bound", NULL, MS_BIND);
}

int by_chroot(const struct row *row)
{
	if (chroot(row->what) || chdir("/"))
		return -1;
	return folder("/");
}

int by_symlink(const struct row *row)
{
	unlink("/tmp/attack-link");
	if (symlink(row->what, "/tmp/attack-link"))
		return -1;
	return folder("/tmp/attack-link");
}

/* A mount made writable without mount(2). */
int by_setattr(const struct row *row)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};

	if (syscall(SYS_mount_setattr, AT_FDCWD, row->what, 0, &attr, sizeof(attr)))
		return -1;
	return folder(row->what);
}

/* A user namespace of one's own has all capabilities, over itself. */
int by_userns(const struct row *row)
{
	pid_t child;
	int status = 0;
	int files;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
		return -1;
	files = open("/proc/self/setgroups", O_WRONLY);
	if (files >= 0 && write(files, "deny", 4) != 4)
		return -1;
	files = open("/proc/self/uid_map", O_WRONLY);
	if (files >= 0 && write(files, "0 0 1", 5) != 5)
		return -1;
	/* The first child is PID 1 of the new PID namespace: a fresh proc needs it. */
	child = fork();
	if (child == 0) {
		mount("none", "/proc", row->what, 0, NULL);
		pause();
	}
	if (child < 0 || waitpid(child, &status, WNOHANG) < 0)
		return -1;
	return mounted("none", row->where, row->what, 0);
}

/* The name of a mount point is changed from another mount namespace, in which nothing is
 * mounted there, so that the mount appears under a name that no rule expects. */
int by_mkdir_rename(const struct row *row)
{
	int ready[2];
	int root;
	int status = 1;
	pid_t other;

	make_target("/mnt/attack-base");
	rmdir(row->where);
	make_target("/mnt/attack-base/before");
	if (pipe(ready))
		return -1;
	other = fork();
	if (other == 0) {
		char byte;

		close(ready[1]);
		if (unshare(CLONE_NEWNS) || read(ready[0], &byte, 1) != 1)
			_exit(1);
		_exit(rename("/mnt/attack-base/before", row->where) ? errno : 0);
	}
	usleep(300000); /* by then the other process has its own mounts */
	root = move_to(by_opentree(row), "/mnt/attack-base/before");
	if (root < 0 || write(ready[1], "x", 1) != 1)
		return -1;
	waitpid(other, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
		return -1;
	}
	return folder(row->where);
}
