/* The prestart hook (libnvidia-container): in the namespace of a container that is being made. */
#define _GNU_SOURCE
#include "tools.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DRIVER "/proc/driver/nvidia"
#define PROFILES "/etc/nvidia/nvidia-application-profiles-rc.d"
#define BIND_AGAIN (MS_REMOUNT | MS_BIND)
#define NOTHING (MS_NODEV | MS_NOSUID | MS_NOEXEC)

/* A file or a folder of the driver's, at the same path below the container's root. */
static void bring(const struct container *container, const char *path, unsigned long flags)
{
	struct stat status;
	const char *target = below(container, path);

	if (stat(path, &status))
		fail("stat %s", path);
	if (S_ISDIR(status.st_mode))
		make_folder(target);
	else
		make_file(target, NULL);
	do_mount(path, target, NULL, MS_BIND, NULL);
	do_mount(NULL, target, NULL, BIND_AGAIN | flags, NULL);
}

static void driver_folder(const struct container *container)
{
	char target[8192], params[8300], text[4096];
	char *modify;

	snprintf(target, sizeof(target), "%s", below(container, DRIVER));
	snprintf(text, sizeof(text), "%s", text_of(DRIVER "/params"));
	modify = strstr(text, "ModifyDeviceFiles: 1");
	if (modify)
		modify[strlen("ModifyDeviceFiles: ")] = '0';
	need_driver_folder(target);
	do_mount("tmpfs", target, "tmpfs", 0, "mode=0555");
	snprintf(params, sizeof(params), "%s/params", target);
	make_file(params, text);
	do_mount(NULL, target, NULL, BIND_AGAIN | NOTHING, NULL);
}

static void application_profile(const struct container *container)
{
	const char *folder = below(container, PROFILES);

	make_folder(folder);
	do_mount("tmpfs", folder, "tmpfs", 0, "mode=0555");
	do_mount(NULL, folder, NULL, BIND_AGAIN | NOTHING, NULL);
	make_file(below(container, PROFILES "/10-container.conf"), "{}");
}

/* A root of its own, with hidden /sys and /dev, for a program that the container could fool. */
static void change_root(const char *root)
{
	int old, new;

	if (unshare(CLONE_NEWNS))
		fail("unshare");
	do_mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);
	do_mount(root, root, NULL, MS_BIND | MS_REC, NULL);
	old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	new = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0 || new < 0 || fchdir(new) || syscall(SYS_pivot_root, ".", "."))
		fail("pivot_root to %s", root);
	if (fchdir(old) || umount2(".", MNT_DETACH) || fchdir(new) || chroot("."))
		fail("leaving the old root");
	do_mount(NULL, "/proc", "proc", MS_RDONLY, NULL);
	do_mount(NULL, "/sys", "tmpfs", MS_RDONLY, NULL);
	do_mount(NULL, "/dev", "tmpfs", MS_RDONLY, NULL);
	do_mount(NULL, "/dev", "tmpfs", MS_REMOUNT, NULL);
	if (symlink("/proc/self/fd", "/dev/fd"))
		fail("symlink /dev/fd");
	do_mount(NULL, "/dev", "tmpfs", MS_REMOUNT | MS_RDONLY, NULL);
}

static void enter(int namespace)
{
	if (setns(namespace, CLONE_NEWNS))
		fail("setns");
}

void legacy(const struct container *container, const char *ldconfig)
{
	char *arguments[] = {(char *)ldconfig, "-f", "/etc/ld.so.conf", "-C", "/etc/ld.so.cache",
			     "/usr/lib/nvidia", NULL};
	char *environment[] = {NULL};
	char path[64];
	int namespace, program;
	pid_t child;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", container->pid);
	namespace = open(path, O_RDONLY | O_CLOEXEC);
	program = open(ldconfig, O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || program < 0)
		fail("open %s, %s", path, ldconfig);
	enter(namespace);
	driver_folder(container);
	bring(container, DRIVER "/gpus/0000:01:00.0", MS_RDONLY | NOTHING);
	application_profile(container);
	bring(container, "/usr/bin/nvidia-smi", MS_RDONLY | MS_NODEV | MS_NOSUID);
	bring(container, "/usr/lib/nvidia/libcuda.so.550.54", MS_RDONLY | MS_NODEV | MS_NOSUID);
	bring(container, "/usr/lib/firmware/nvidia/gsp.bin", MS_RDONLY | MS_NODEV | MS_NOSUID);
	bring(container, "/run/nvidia-persistenced/socket", NOTHING);
	bring(container, "/dev/nvidia0", MS_RDONLY | MS_NOSUID | MS_NOEXEC);
	bring(container, "/dev/nvidiactl", MS_RDONLY | MS_NOSUID | MS_NOEXEC);

	child = syscall(SYS_clone, SIGCHLD | CLONE_NEWPID | CLONE_NEWIPC, NULL, NULL, NULL, NULL);
	if (child == 0) {
		prctl(PR_SET_NAME, (unsigned long)"nvc:[ldconfig]", 0, 0, 0);
		enter(namespace);
		change_root(container->root);
		fexecve(program, arguments, environment);
		fail("execute %s", ldconfig);
	}
	wait_for(child, ldconfig);
}
