/* The createContainer hooks of nvidia-container-toolkit: nvidia-cdi-hook. */
#define _GNU_SOURCE
#include "tools.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#define PARAMS "/proc/driver/nvidia/params"

static const char *descriptor(int file)
{
	static char names[4][64];
	static int next;
	char *name = names[next++ % 4];

	snprintf(name, sizeof(names[0]), "/proc/self/fd/%d", file);
	return name;
}

static int opened(const char *path, int flags)
{
	int file = open(path, flags | O_CLOEXEC, 0755);

	if (file < 0)
		fail("open %s", path);
	return file;
}

/* A tmpfs of the hook's own below the container's root; the path of a file in it. */
static const char *scratch(const struct container *container, const char *id, const char *name)
{
	static char file[8192];
	char folder[8000];
	int place;

	snprintf(folder, sizeof(folder), "%s/run/nvidia-ctk-hook/%s", container->root, id);
	make_folder(folder);
	place = opened(folder, O_PATH | O_DIRECTORY);
	do_mount("tmpfs", descriptor(place), "tmpfs", 0, "size=1M");
	close(place);
	snprintf(file, sizeof(file), "%s/%s", folder, name);
	return file;
}

/*
 * One bind mount, read-only and private: by one call that ignores that, or by three. (Each opens the
 * place: what was opened before the first mount is below it.)
 */
static void bind_private(const char *source, const char *path, int old)
{
	unsigned long flags = MS_RDONLY | MS_NODEV | MS_NOSYMFOLLOW;
	const char *target = descriptor(opened(path, O_RDONLY));

	if (old) {
		do_mount(source, target, "", MS_BIND | MS_PRIVATE | flags, "");
		return;
	}
	do_mount(source, target, "", MS_BIND, "");
	target = descriptor(opened(path, O_RDONLY));
	do_mount("", target, "", MS_REMOUNT | MS_BIND | flags, "");
	do_mount("", target, "", MS_PRIVATE, "");
}

static void pivot(const char *root)
{
	int old = opened("/", O_RDONLY | O_DIRECTORY), new = opened(root, O_RDONLY | O_DIRECTORY);

	if (fchdir(new) || syscall(SYS_pivot_root, ".", ".") || fchdir(old))
		fail("pivot_root to %s", root);
	do_mount("", ".", "", MS_SLAVE | MS_REC, "");
	if (umount2(".", MNT_DETACH) || chdir("/"))
		fail("leaving the old root");
}

/* A copy that nobody can change is executed. */
static void execute_sealed(const char *path, char *const *arguments)
{
	char *environment[] = {NULL};
	int program = opened(path, O_RDONLY), copy = memfd_create("ldconfig", MFD_ALLOW_SEALING);
	struct stat status;
	int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	if (copy < 0 || fstat(program, &status) ||
	    sendfile(copy, program, NULL, status.st_size) != status.st_size ||
	    fcntl(copy, F_ADD_SEALS, seals))
		fail("copy of %s", path);
	execve(descriptor(copy), arguments, environment);
	fail("execute %s", path);
}

void update_ldcache(const struct container *container, const char *ldconfig, int old)
{
	int spaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;
	char *arguments[] = {"ldconfig", "-f", "/etc/ld.so.conf", "-C", "/etc/ld.so.cache",
			     "/usr/lib/nvidia", NULL};
	const char *id = old ? "old" : "new";
	char inside[64], file[8192];
	pid_t child = syscall(SYS_clone, SIGCHLD | spaces, NULL, NULL, NULL, NULL);

	if (child) {
		wait_for(child, "update-ldcache");
		return;
	}
	do_mount("proc", below(container, "/proc"), "proc", 0, "");
	snprintf(file, sizeof(file), "%s", scratch(container, id, "ldconfig"));
	close(opened(file, O_CREAT | O_RDWR));
	bind_private(ldconfig, file, old);
	pivot(container->root);
	snprintf(inside, sizeof(inside), "/run/nvidia-ctk-hook/%s/ldconfig", id);
	execute_sealed(inside, arguments);
}

void create_symlinks(const struct container *container)
{
	const char *link = below(container, "/usr/lib/nvidia/libcuda.so.1");

	unlink(link);
	if (symlink("libcuda.so.550.54", link))
		fail("symlink %s", link);
	if (chmod(below(container, "/dev/dri"), 0755))
		fail("chmod of /dev/dri");
}

void no_device_nodes(const struct container *container)
{
	char driver[8192], params[8192];
	const char *file;
	int changed;

	snprintf(driver, sizeof(driver), "%s", below(container, "/proc/driver/nvidia"));
	snprintf(params, sizeof(params), "%s", below(container, PARAMS));
	need_driver_folder(driver);
	if (access(params, F_OK))
		make_file(params, "ModifyDeviceFiles: 1\n");
	file = scratch(container, "params", "nvct-params");
	make_file(file, "ModifyDeviceFiles: 0\n");
	changed = opened(file, O_RDWR);
	bind_private(descriptor(changed), params, 0);
}
