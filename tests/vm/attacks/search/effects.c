/* Whether a state gives away something of the host's. Files of the kernel are known by the file
 * system that they are on (the device number of the mount), whatever their path is. */
#define _GNU_SOURCE
#include "search.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROC 0x9fa0
#define SYSFS 0x62656572

enum { FILES = 1500 };

/* type, path below the root of its file system; severe: the kernel runs it, or the like. */
static struct file {
	const char *type;
	char path[120];
	int severe, read;
} files[FILES];
static int count;

static void one_file(const char *type, const char *path, int severe, int to_read)
{
	if (count == FILES)
		return;
	files[count].type = type;
	snprintf(files[count].path, sizeof(files[0].path), "%.119s", path);
	files[count].severe = severe;
	files[count++].read = to_read;
}

static int have(const char *type, const char *path)
{
	for (int i = 0; i < count; i++)
		if (files[i].type == type && !strcmp(files[i].path, path))
			return 1;
	return 0;
}

/* Of each two folders from the top on, one file of a name: the others are as it is. */
static int have_like(const char *type, const char *path)
{
	const char *name = strrchr(path, '/'), *cut = path + 1;

	for (int depth = 0; depth < 2 && cut; depth++)
		cut = strchr(cut + 1, '/');
	for (int i = 0; i < count && cut; i++) {
		const char *other = strrchr(files[i].path, '/');

		if (files[i].type == type && other && !strcmp(other, name) &&
		    !strncmp(files[i].path, path, cut - path))
			return 1;
	}
	return have(type, path);
}

/* Of the container's own namespaces. */
static int is_own(const char *type, const char *path)
{
	static const char *const proc[] = {"/sys/net/", "/sys/kernel/hostname", "/sys/kernel/domainname",
		"/sys/kernel/msg", "/sys/kernel/sem", "/sys/kernel/shm", "/sys/kernel/ns_last_pid",
		"/sys/kernel/auto_msgmni", "/sys/kernel/pid_max", "/sys/fs/mqueue/", "/sys/user/", "/sys/fs/binfmt_misc/", NULL};
	static const char *const sysfs[] = {"/fs/cgroup/", "/devices/virtual/net", "/class/net/", NULL};
	const char *const *own = strcmp(type, "proc") ? sysfs : proc;

	for (; *own; own++)
		if (!strncmp(path, *own, strlen(*own)))
			return 1;
	return 0;
}

static void walk(const char *type, const char *top, const char *path, int depth)
{
	char name[512], here[400];
	struct dirent *entry;
	struct stat status;
	DIR *folder;

	snprintf(name, sizeof(name), "%s%s", top, path);
	folder = depth ? opendir(name) : NULL;
	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.' || strlen(path) + strlen(entry->d_name) > 100)
			continue;
		snprintf(here, sizeof(here), "%s/%s", path, entry->d_name);
		snprintf(name, sizeof(name), "%s%s", top, here);
		if (is_own(type, here) || lstat(name, &status) || S_ISLNK(status.st_mode))
			continue;
		if (S_ISDIR(status.st_mode))
			walk(type, top, here, depth - 1);
		else if ((status.st_mode & 0222) && !have_like(type, here))
			one_file(type, here, 0, 0);
	}
	closedir(folder);
}

void find_files(void)
{
	static const char *const proc[] = {"/sys/kernel/core_pattern", "/sys/kernel/modprobe",
		"/sysrq-trigger", "/sys/kernel/poweroff_cmd", "/sys/kernel/sysrq", "/sys/vm/drop_caches",
		"/irq/default_smp_affinity", "/mtrr", "/acpi/wakeup", "/scsi/scsi", NULL};
	static const char *const sysfs[] = {"/kernel/uevent_helper", "/power/state", "/bus/pci/rescan",
		"/module/printk/parameters/time", "/kernel/mm/transparent_hugepage/enabled", NULL};

	for (int i = 0; proc[i]; i++)
		one_file("proc", proc[i], i < 6, 0);
	one_file("proc", "/kcore", 1, 1);
	one_file("proc", "/kmsg", 1, 1);
	for (int i = 0; sysfs[i]; i++)
		one_file("sysfs", sysfs[i], 1, 0);
	one_file("debugfs", "/clear_warn_once", 1, 0);
	one_file("debugfs", "/sleep_time", 1, 0);
	one_file("tracefs", "/tracing_on", 1, 0);
	one_file("tracefs", "/kprobe_events", 1, 0);
	one_file("securityfs", "/lockdown", 1, 0);
	one_file("binfmt_misc", "/register", 1, 0);
	one_file("cgroup", "/release_agent", 1, 0);
	walk("proc", "/proc", "/sys", 5);
	walk("sysfs", "/sys", "", 6);
	walk("sysfs", "/sys", "/kernel", 3);
}

/* When process 1 began, as the proc at PATH has it; 0: it has none. */
static unsigned long started(const char *at)
{
	char path[2 * PATH], text[512], *rest;
	unsigned long when = 0;
	int fd, length;

	snprintf(path, sizeof(path), "%s/1/stat", at);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	rest = strrchr(text, ')');
	if (rest)
		sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lu",
		       &when);
	return when;
}

void know_host(void)
{
	for (int i = 0; i < now_count; i++) {
		if (!strcmp(now[i].at, "/attack-host"))
			shared->host = now[i];
		if (!strcmp(now[i].at, "/attack-ro"))
			shared->share = now[i];
	}
	strcpy(shared->super, shared->host.super);
	shared->started = started("/proc");
}

static void tell(struct result *result, int severe, const char *kind, const char *what, const char *at)
{
	if (*result->kind && !(severe && !result->severe))
		return;
	result->severe = severe;
	snprintf(result->kind, sizeof(result->kind), "%s", kind);
	snprintf(result->found, sizeof(result->found), "%.119s %.200s", what, at);
}

static int on_device(int fd, const char *dev)
{
	struct stat status;
	char text[24];

	if (fstat(fd, &status))
		return 0;
	snprintf(text, sizeof(text), "%u:%u", major(status.st_dev), minor(status.st_dev));
	return !strcmp(text, dev);
}

/* A file of the host, open. A program of the cgroup may have a say when a sysctl is written, and is
 * asked about nothing, too. */
static int is_reached(int fd, const struct file *file)
{
	int is_sysctl = !strcmp(file->type, "proc") && !strncmp(file->path, "/sys/", 5);

	return file->read || !is_sysctl || !write(fd, "", 0) || errno != EPERM;
}

static void look_into(const struct mountpoint *mount, struct result *result)
{
	size_t skip = strcmp(mount->root, "/") ? strlen(mount->root) : 0;

	for (int i = 0; i < count; i++) {
		char path[2 * PATH + 120];
		int fd;

		if (strcmp(files[i].type, mount->type) || strncmp(files[i].path, mount->root, skip) ||
		    (files[i].path[skip] && files[i].path[skip] != '/' && skip))
			continue;
		snprintf(path, sizeof(path), "%s%s", strcmp(mount->at, "/") ? mount->at : "",
			 files[i].path + skip);
		fd = open(path, (files[i].read ? O_RDONLY : O_WRONLY) | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (on_device(fd, mount->dev) && is_reached(fd, &files[i]))
			tell(result, files[i].severe, mount->type, files[i].path, path);
		close(fd);
	}
}

static int uncovered(const struct mountpoint *mount)
{
	int fd = open(mount->at, O_PATH | O_CLOEXEC), same;

	if (fd < 0)
		return 0;
	same = on_device(fd, mount->dev);
	close(fd);
	return same;
}

/* A file that is there for the test, and for all to write but for the mount. */
static void share(const struct mountpoint *mount, struct result *result)
{
	char path[2 * PATH], shown[4 * PATH];
	int fd;

	snprintf(path, sizeof(path), "%.*s/probe", PATH, mount->at);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	close(fd);
	snprintf(shown, sizeof(shown), "%s%s", root_place(), path);
	tell(result, 1, "share", "read-only share is writable:", shown);
}

/* With a file of fusectl a FUSE file system of the host is aborted: it has one for the test. */
static void connections(const char *at, const char *said, struct result *result)
{
	DIR *all = opendir(at);
	struct dirent *one;
	char path[2 * PATH + 300];

	while (all && (one = readdir(all))) {
		int fd;

		if (*one->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/abort", strcmp(at, "/") ? at : "", one->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		close(fd);
		tell(result, 1, "fusectl", "of-the-whole-machine", *said ? said : path);
		break;
	}
	if (all)
		closedir(all);
}

/* File systems of which the machine has one. */
static void folder(const struct mountpoint *mount, struct result *result)
{
	DIR *open_folder = opendir(mount->at);

	if (!open_folder)
		return;
	closedir(open_folder);
	/* Root of a user namespace may look at them everywhere, and write nothing. */
	if (access(mount->at, W_OK))
		return;
	tell(result, 1, mount->type, "of-the-whole-machine", mount->at);
}

static void look_at_mount(const struct mountpoint *mount, struct result *result)
{
	uint64_t key = hash(root_name(), mount->at);

	if (!strcmp(mount->dev, shared->host.dev) && strcmp(mount->super, shared->super)) {
		tell(result, 1, "superblock", mount->super, mount->at);
		return;
	}
	key = hash(hash(hash(key, mount->type), mount->root), mount->ro ? "ro" : "rw");
	if ((set_has(shared->seen, SEEN, key) && !shared->ask_again) || !uncovered(mount))
		return;
	set_add(shared->seen, SEEN, key);
	if (!strcmp(mount->dev, shared->share.dev) && !strcmp(mount->root, shared->share.root))
		share(mount, result);
	if (!strcmp(mount->type, "fusectl"))
		connections(mount->at, "", result);
	if (!strcmp(mount->type, "configfs") || !strcmp(mount->type, "devtmpfs"))
		folder(mount, result);
	look_into(mount, result);
	if (!strcmp(mount->type, "proc") && !strcmp(mount->root, "/")) {
		unsigned long when = started(mount->at);

		if (when && when != shared->started)
			tell(result, 1, "process", "the host's processes are at", mount->at);
	}
}

/* The working folder may be of a mount that has no place any more: every end of a path is tried. */
static void look_around(struct result *result)
{
	for (int i = 0; i < count && (i < 64 || files[i].severe); i++)
		for (const char *end = files[i].path; end; end = strchr(end + 1, '/')) {
			int fd = openat(AT_FDCWD, end + 1, (files[i].read ? O_RDONLY : O_WRONLY) | O_CLOEXEC | O_NONBLOCK);
			struct statfs about;

			if (fd < 0)
				continue;
			if (!fstatfs(fd, &about) && is_reached(fd, &files[i]) && (about.f_type == PROC || about.f_type == SYSFS ||
						     (strcmp(files[i].type, "proc") && strcmp(files[i].type, "sysfs"))))
				tell(result, files[i].severe, files[i].type, files[i].path, "from the working folder");
			close(fd);
		}
	connections(".", "from the working folder", result);
}

void effects(struct result *result)
{
	*result->kind = '\0';
	result->severe = 0;
	for (int i = 0; i < now_count; i++)
		look_at_mount(&now[i], result);
	if (has_folder())
		look_around(result);
}
