/* The steps. */
#define _GNU_SOURCE
#include "search.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);
int umount2(const char *target, int flags);
#define DETACH 2

static uint64_t names_hash, root_hash, folder_hash;
static char root_at[2 * PATH];
static int second, channel = -1, who;
/* Where this process renamed, whatever is mounted there or is the root since; -1: by its path. */
static int folders[2][RENAMES] = {{-1, -1, -1, -1, -1, -1, -1, -1}, {-1, -1, -1, -1, -1, -1, -1, -1}};

uint64_t past(void)
{
	return names_hash + root_hash * 3 + folder_hash * 5 + (second ? 7 : 0);
}

uint64_t root_name(void)
{
	return root_hash;
}

const char *root_place(void)
{
	return root_at;
}

int has_folder(void)
{
	return folder_hash != 0;
}

int second_process(void)
{
	return second;
}

static const char *base(const char *path)
{
	return strrchr(path, '/') + 1;
}

static int open_folder(const char *path)
{
	char text[PATH];

	snprintf(text, sizeof(text), "%.*s", (int)(base(path) - path), path);
	return open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int remember(const char *from, const char *to, int folder)
{
	char (*names)[PATH] = shared->names[who][shared->renames[who]];

	snprintf(names[0], PATH, "%s", from);
	snprintf(names[1], PATH, "%s", to);
	folders[who][shared->renames[who]] = folder;
	shared->renames[who]++;
	names_hash = hash(hash(names_hash, from), to);
	return 0;
}

/* What a tmpfs of one's own is good for: any name in it. */
static int own(const char *place)
{
	static const char *const folders[] = {"q", "w", "x", "x/sbin", "proc", "sys", "old"};
	int fd;

	if (mount("none", place, "tmpfs", 0, NULL))
		return -1;
	fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		mkdirat(fd, folders[i], 0755);
	close(openat(fd, "plain", O_CREAT | O_RDONLY | O_CLOEXEC, 0644));
	close(fd);
	return 0;
}

static int overlay(const char *below, const char *place)
{
	char options[256];

	mkdir("/ovl/u", 0755);
	mkdir("/ovl/w", 0755);
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=/ovl/u,workdir=/ovl/w", below);
	return mount("overlay", place, "overlay", 0, options);
}

static int write_file(const char *name, const char *text)
{
	int fd = openat(proc_folder, name, O_WRONLY | O_CLOEXEC), failed;

	if (fd < 0)
		return -1;
	failed = write(fd, text, strlen(text)) < 0;
	close(fd);
	return failed ? -1 : 0;
}

/* Its failures after unshare leave a process that can do no more. */
static int user_namespace(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -1;
	root_hash = hash(root_hash, "userns");
	write_file("self/setgroups", "deny");
	return write_file("self/uid_map", "0 0 1");
}

static int move_to(int tree, const char *place)
{
	int failed = tree < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, place,
					 MOVE_MOUNT_F_EMPTY_PATH);

	if (tree >= 0)
		close(tree);
	return failed ? -1 : 0;
}

static int new_mount(const char *type)
{
	int context = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), tree = -1;

	if (context < 0)
		return -1;
	if (!syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		tree = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	close(context);
	return tree;
}

/* A detached mount is a working folder without a place. */
static int detached(int tree)
{
	int failed = tree < 0 || fchdir(tree);

	if (tree >= 0)
		close(tree);
	if (!failed)
		folder_hash = hash(folder_hash, "detached");
	return failed ? -1 : 0;
}

static int named(const struct step *s)
{
	int folder, failed;

	if (shared->renames[who] == RENAMES) {
		errno = EINVAL;
		return -1;
	}
	folder = open_folder(s->b);
	failed = s->verb == RENAME ? rename(s->a, s->b) : symlink(s->a, s->b);
	if (!failed)
		return remember(s->verb == RENAME ? s->a : "", s->b, folder);
	if (folder >= 0)
		close(folder);
	return -1;
}

static int one(const struct step *s)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
	int times = 0;

	switch (s->verb) {
	case MOUNT:
		return mount("none", s->b, s->a, s->flags, NULL);
	case BIND:
		return mount(s->a, s->b, NULL, MS_BIND | s->flags, NULL);
	case MOVE:
		return mount(s->a, s->b, NULL, MS_MOVE | s->flags, NULL);
	case FLAGS:
		return mount(NULL, s->b, NULL, s->flags, *s->a ? s->a : NULL);
	case UMOUNT:
		return umount2(s->b, DETACH);
	case UMOUNT_ALL:
		while (times < 8 && !umount2(s->b, DETACH))
			times++;
		return times ? 0 : -1;
	case PIVOT:
		if (syscall(SYS_pivot_root, s->a, s->b) || chdir("/"))
			return -1;
		root_hash = hash(root_hash, s->a);
		*root_at = '\0';
		return 0;
	case CHROOT:
		if (chroot(s->b) || chdir("/"))
			return -1;
		root_hash = hash(hash(root_hash, "chroot"), s->b);
		strncat(root_at, s->b, sizeof(root_at) - strlen(root_at) - 1);
		return 0;
	case CHDIR:
		if (chdir(s->b))
			return -1;
		folder_hash = hash(root_hash, s->b);
		return 0;
	case OWN:
		return own(s->b);
	case OVERLAY:
		return overlay(s->a, s->b);
	case RENAME:
	case SYMLINK:
		return named(s);
	case USERNS:
		return user_namespace();
	case TREE:
		if (!*s->b)
			return detached(syscall(SYS_open_tree, AT_FDCWD, s->a, OPEN_TREE_CLONE | s->flags));
		return move_to(syscall(SYS_open_tree, AT_FDCWD, s->a, OPEN_TREE_CLONE | s->flags), s->b);
	case FSMOUNT:
		return *s->b ? move_to(new_mount(s->a), s->b) : detached(new_mount(s->a));
	case SETATTR:
		return syscall(SYS_mount_setattr, AT_FDCWD, s->b, s->flags, &attr, sizeof(attr));
	}
	errno = EINVAL;
	return -1;
}

/* Whether a mount stands in the way of the old names. */
static int in_the_way(const struct mountpoint *mount, int whose)
{
	if (!is_initial(mount) && strcmp(mount->at, "/"))
		return 1;
	for (int i = 0; i < shared->renames[whose]; i++) {
		const char *to = shared->names[whose][i][1];
		size_t length = strlen(to);

		if (!strncmp(mount->at, to, length) && (!mount->at[length] || mount->at[length] == '/'))
			return 1;
	}
	return 0;
}

static int back(int folder, const char *from, const char *to)
{
	if (!*from)
		return unlinkat(folder, to, 0);
	if (!renameat(folder, to, folder, from))
		return 0;
	/* What may not be renamed, but is empty: another is as good, and so is one that it replaced. */
	return unlinkat(folder, to, AT_REMOVEDIR) || mkdirat(folder, from, 0755) ||
	       mkdirat(folder, to, 0755);
}

/* It was on a mount that is gone. */
static int nothing_left(const char *from, const char *to)
{
	struct stat status;

	return fstatat(root_folder, to + 1, &status, AT_SYMLINK_NOFOLLOW) &&
	       (!*from || !fstatat(root_folder, from + 1, &status, AT_SYMLINK_NOFOLLOW));
}

/* The last name first; what cannot be is left to clean(). */
static void names_back(int whose)
{
	static struct mountpoint mounts[MOUNTS];
	int count = shared->renames[whose] ? mounts_of(0, mounts) : 0;

	while (count-- > 0)
		if (in_the_way(&mounts[count], whose))
			umount2(mounts[count].at, DETACH);
	for (int *left = &shared->renames[whose]; *left; --*left) {
		const char *from = shared->names[whose][*left - 1][0];
		const char *to = shared->names[whose][*left - 1][1];
		int *folder = &folders[whose][*left - 1];

		if ((*folder < 0 || back(*folder, *from ? base(from) : from, base(to))) &&
		    back(root_folder, *from ? from + 1 : from, to + 1) && !nothing_left(from, to))
			return;
		if (*folder >= 0)
			close(*folder);
		*folder = -1;
	}
}

void clean(void)
{
	names_back(1);
	names_back(0);
	names_back(1);
}

static void serve(int with)
{
	struct step step;

	while (read(with, &step, sizeof(step)) == sizeof(step)) {
		int error = one(&step) ? errno : 0;

		if (write(with, &error, sizeof(error)) != sizeof(error))
			break;
	}
	names_back(1);
	_exit(0);
}

static int in_second(const struct step *step)
{
	int pair[2], error = 0;

	if (!second) {
		pid_t child;

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			return -1;
		child = fork();
		if (child == 0) {
			close(pair[0]);
			if (unshare(CLONE_NEWNS))
				_exit(1);
			proc_folder = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
			root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
			who = 1;
			serve(pair[1]);
		}
		close(pair[1]);
		if (child < 0)
			return -1;
		second = child;
		channel = pair[0];
	}
	if (write(channel, step, sizeof(*step)) < 0 || read(channel, &error, sizeof(error)) < 1)
		error = EPIPE;
	if (!error && step->verb == RENAME)
		names_hash = hash(hash(names_hash + 2, step->a), step->b);
	errno = error;
	return error ? -1 : 0;
}

int apply(const struct step *step)
{
	return step->who ? in_second(step) : one(step);
}

int undo(const struct step *step)
{
	if (step->who)
		return 0;
	switch (step->verb) {
	case MOUNT:
	case BIND:
	case OWN:
	case OVERLAY:
	case TREE:
	case FSMOUNT:
		return *step->b && !umount2(step->b, DETACH);
	default:
		return 0;
	}
}

void restore(void)
{
	if (second) {
		close(channel);
		waitpid(second, NULL, 0);
		second = 0;
	}
	if (fchdir(root_folder))
		shared->dirty = 1;
	names_back(0);
}
