/* What can be tried in a state: every kind of step, at every kind of place. */
#define _GNU_SOURCE
#include "search.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Places for which profiles have rules of their own, and some that are like any other. */
const char *const regions[] = {
	"", "/mnt", "/run/credentials", "/dev/shm", "/var/lib/docker",
	"/run/systemd/mount-rootfs", "/run/systemd/unit-root", "/run/systemd/unit-private-tmp",
	"/run/systemd/namespace-x", "/run/systemd/incoming", "/run/netns", "/dev", "/tmp",
	"/var/lib/containers/storage/overlay", "/run/docker", "/oldroot", NULL,
};
/* Empty: a folder that has another place already can take its name. */
#define ROOTFS "/run/systemd/mount-rootfs"
static const char *const within[] = {"q", "w", "x/sbin", "proc", "sys", "old", NULL};
/* Parts of proc and sysfs on which others may be put. */
static const char *const parts[] = {
	"/proc", "/sys", "/proc/1", "/proc/1/attr", "/proc/sys", "/proc/sys/net", "/proc/fs", "/proc/irq", "/sys/fs/cgroup",
	"/sys/fs/bpf", "/sys/kernel/debug", "/sys/devices/virtual/net", NULL,
};
static const char *const types[] = {
	"proc", "sysfs", "debugfs", "tracefs", "securityfs", "fusectl", "binfmt_misc", "devtmpfs",
	"configfs", "cgroup2", NULL,
};
static const struct {
	const char *type, *root;
	const char *below[8];
} inside[] = {
	{"proc", "/", {"sys", "sys/kernel", "irq", "fs", "acpi", "sys/kernel/core_pattern", "sysrq-trigger"}},
	{"proc", "/sys", {"kernel", "vm", "fs", "kernel/core_pattern"}},
	{"proc", "/sys/kernel", {"core_pattern"}},
	{"sysfs", "/", {"kernel", "bus", "module", "power", "devices", "bus/pci"}},
	{"sysfs", "/bus", {"pci"}},
	{"sysfs", "/kernel", {"mm"}},
};
static const char *const renamed[] = {
	"/proc", "/sys", "/run", "/run/systemd", "/run/systemd/mount-rootfs", "/run/systemd/unit-root",
	"/run/systemd/mount-rootfs/proc", "/run/systemd/mount-rootfs/sys", "/run/credentials", "/mnt",
	"/mnt/old", "/dev/shm", "/var/lib/docker", NULL,
};

static struct step *list;
static int most, count;

static void add(int who, enum verb verb, uint32_t flags, const char *a, const char *b)
{
	struct step *step = &list[count];

	if (count == most || strlen(a) >= PATH || strlen(b) >= PATH)
		return;
	memset(step, 0, sizeof(*step));
	step->who = who;
	step->verb = verb;
	step->flags = flags;
	strcpy(step->a, a);
	strcpy(step->b, b);
	count++;
}

static int mounted_at(const char *path)
{
	for (int i = 0; i < now_count; i++)
		if (!strcmp(now[i].at, path))
			return 1;
	return 0;
}

void make_world(void)
{
	char path[PATH];

	for (int i = 0; regions[i]; i++)
		for (int j = 0; within[j]; j++) {
			if (!strcmp(regions[i], ROOTFS)) {
				mkdir("/run/systemd", 0755);
				mkdir("/run/systemd/z", 0755);
				mkdir(ROOTFS, 0755);
				continue;
			}
			snprintf(path, sizeof(path), "%s/%s", regions[i], within[j]);
			if (*regions[i] || (strcmp(within[j], "proc") && strcmp(within[j], "sys")))
				for (char *slash = path + 1;; slash++)
					if (*slash == '/' || !*slash) {
						char kept = *slash;

						*slash = '\0';
						mkdir(path, 0755);
						*slash = kept;
						if (!kept)
							break;
					}
			if (!j) {
				snprintf(path, sizeof(path), "%s/plain", regions[i]);
				close(open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0644));
			}
		}
	mkdir("/ovl", 0755);
	/* Where pivot_root puts the old root, if the new one is this one at another place. */
	mkdir("/old", 0755);
}

enum { SOURCES = 80, TARGETS = 160 };
static char source[SOURCES][PATH], target[TARGETS][PATH];
static int sources, targets;

/* Whether a recursive bind is another than a plain one. */
static int mounted_below(const char *path)
{
	size_t length = strlen(path);

	for (int i = 0; i < now_count; i++)
		if (!strcmp(path, "/") ||
		    (!strncmp(now[i].at, path, length) && now[i].at[length] == '/'))
			return 1;
	return 0;
}

static void put(char (*to)[PATH], int *used, int size, const char *format, const char *a, const char *b)
{
	char path[2 * PATH];

	snprintf(path, sizeof(path), format, a, b);
	if (strlen(path) >= PATH || *used == size)
		return;
	for (int i = 0; i < *used; i++)
		if (!strcmp(to[i], path))
			return;
	strcpy(to[(*used)++], path);
}

static int is_kernel(const struct mountpoint *mount)
{
	for (int i = 0; types[i]; i++)
		if (!strcmp(mount->type, types[i]))
			return 1;
	return 0;
}

static int of_host(const struct mountpoint *mount)
{
	return !strcmp(mount->dev, shared->host.dev) && strcmp(mount->at, "/");
}

/* What is worth a place elsewhere: the kernel's, the host's, and the folders that rules name. */
static void find_sources(void)
{
	static const char *const fixed[] = {"/", "/proc", "/sys", "/run", "/run/systemd", "/run/systemd/z",
		"/mnt", "/dev", "/attack-ro", "/attack-host", "/dev/.lxc/proc", "/dev/.lxc/sys", "/oldroot/proc", NULL};

	sources = 0;
	for (int i = 0; fixed[i]; i++)
		put(source, &sources, SOURCES, "%s%s", fixed[i], "");
	for (int i = 0; i < now_count; i++) {
		const char *at = strcmp(now[i].at, "/") ? now[i].at : "";
		int known = is_initial(&now[i]) && !root_name();

		if (known && strcmp(at, "/proc") && strcmp(at, "/sys"))
			continue;
		if (!is_kernel(&now[i]) && !of_host(&now[i]) && known)
			continue;
		put(source, &sources, SOURCES, "%s%s", now[i].at, "");
		for (unsigned j = 0; j < sizeof(inside) / sizeof(inside[0]); j++)
			if (!strcmp(inside[j].type, now[i].type) && !strcmp(inside[j].root, now[i].root))
				for (int k = 0; inside[j].below[k]; k++)
					put(source, &sources, SOURCES, "%s/%s", at, inside[j].below[k]);
	}
}

/* The first of two names that are as good as each other, and others by which rules go. */
static void find_targets(void)
{
	targets = 0;
	for (int i = 0; regions[i]; i++) {
		char path[PATH];

		if (*regions[i])
			put(target, &targets, TARGETS, "%s%s", regions[i], "");
		snprintf(path, sizeof(path), "%s/q", regions[i]);
		put(target, &targets, TARGETS, mounted_at(path) ? "%s/w" : "%s/q", regions[i], "");
		put(target, &targets, TARGETS, "%s/x/sbin", regions[i], "");
		if (strstr(regions[i], "root")) {
			put(target, &targets, TARGETS, "%s/proc", regions[i], "");
			put(target, &targets, TARGETS, "%s/sys", regions[i], "");
		}
	}
	for (int i = 0; parts[i]; i++)
		put(target, &targets, TARGETS, "%s%s", parts[i], "");
}

static void binds(void)
{
	static const uint32_t flags[] = {0, MS_REC, MS_SILENT, MS_RDONLY, MS_REC | MS_SILENT};
	struct stat status;

	for (int i = 0; i < sources; i++) {
		int file = !stat(source[i], &status) && !S_ISDIR(status.st_mode);
		int below = mounted_below(source[i]);
		int plain = !strcmp(source[i], "/mnt") || !strcmp(source[i], "/dev");

		for (int f = 0; f < 5; f++)
			for (int j = 0; j < targets && !file; j++)
				if (strcmp(source[i], target[j]) && (!(flags[f] & MS_REC) || below) &&
				    (!plain || strrchr(target[j], '/')[2]))
					add(0, BIND, flags[f], source[i], target[j]);
		for (int j = 0; j < targets && !file && mounted_at(source[i]); j++)
			add(0, MOVE, 0, source[i], target[j]);
		for (int j = 0; regions[j] && file; j++) {
			char path[PATH];

			snprintf(path, sizeof(path), "%s/plain", regions[j]);
			add(0, BIND, 0, source[i], path);
			add(0, BIND, MS_REC, source[i], path);
		}
		if (file) {
			add(0, BIND, 0, source[i], "/proc/sys/kernel/hostname");
			add(0, BIND, 0, source[i], "/proc/sysrq-trigger");
		}
	}
}

static void remounts(void)
{
	static const uint32_t flags[] = {
		MS_REMOUNT | MS_BIND, MS_REMOUNT | MS_BIND | MS_NOSUID,
		MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV,
		MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOEXEC, MS_REMOUNT | MS_BIND | MS_SILENT, MS_REMOUNT,
	};

	for (int i = 0; i < now_count; i++) {
		int host = of_host(&now[i]);

		if (now[i].ro && (host || is_kernel(&now[i])))
			for (int f = 0; f < 7; f++)
				add(0, FLAGS, flags[f], "", now[i].at);
		if (host) {
			add(0, FLAGS, MS_REMOUNT, "errors=remount-ro", now[i].at);
			add(0, FLAGS, MS_REMOUNT | MS_SILENT, "errors=remount-ro", now[i].at);
			add(0, FLAGS, MS_REMOUNT | MS_NOSUID | MS_NODEV, "errors=remount-ro", now[i].at);
		}
		if (now[i].ro && is_kernel(&now[i]))
			add(0, SETATTR, 0, "", now[i].at);
	}
}

/* In one process or the other: what is taken off, and then has another name. */
static void names(void)
{
	char other[PATH];

	for (int who = 0; who < 2; who++) {
		for (int i = 0; i < now_count; i++) {
			int known = is_initial(&now[i]) && !root_name();

			if (!known || !strncmp(now[i].at, "/proc", 5) || !strncmp(now[i].at, "/sys", 4))
				add(who, UMOUNT_ALL, 0, "", now[i].at);
		}
		for (int i = 0; renamed[i]; i++) {
			const char *slash = strrchr(renamed[i], '/');

			snprintf(other, sizeof(other), "%.*s/z%d", (int)(slash - renamed[i]), renamed[i], i);
			add(who, RENAME, 0, renamed[i], other);
		}
		add(who, RENAME, 0, "/run/systemd/z", ROOTFS);
	}
}

static void roots(void)
{
	char old[PATH];

	for (int i = 0; i < now_count; i++) {
		if ((is_initial(&now[i]) && !root_name()) || !strcmp(now[i].at, "/"))
			continue;
		if (is_kernel(&now[i]) || !strncmp(now[i].at, "/proc", 5))
			continue;
		if (snprintf(old, sizeof(old), "%.80s/old", now[i].at) >= PATH)
			continue;
		add(0, PIVOT, 0, now[i].at, old);
		add(0, PIVOT, 0, now[i].at, now[i].at);
		add(1, PIVOT, 0, now[i].at, old);
		add(0, CHROOT, 0, "", now[i].at);
	}
	add(0, CHROOT, 0, "", "/mnt");
	add(0, CHROOT, 0, "", "/proc");
	add(0, USERNS, 0, "", "");
	add(0, FLAGS, MS_SHARED | MS_REC, "", "/");
	add(0, FLAGS, MS_SLAVE | MS_REC, "", "/");
}

int moves(struct step *steps, int size)
{
	list = steps;
	most = size;
	count = 0;
	find_sources();
	find_targets();
	for (int i = 0; types[i]; i++)
		for (int j = 0; j < targets; j++)
			add(0, MOUNT, 0, types[i], target[j]);
	names();
	roots();
	remounts();
	for (int i = 0; regions[i]; i++)
		if (*regions[i]) {
			add(0, OWN, 0, "", regions[i]);
			add(0, OVERLAY, 0, "/mnt", regions[i]);
		}
	add(0, OWN, 0, "", "/proc");
	add(0, OWN, 0, "", "/sys");
	add(0, OWN, 0, "", "/run");
	add(0, OVERLAY, 0, "/", "/mnt");
	add(0, OVERLAY, 0, "/run/systemd", "/run/systemd");
	add(0, OVERLAY, 0, "/attack-ro", "/mnt");
	add(0, OVERLAY, 0, "/proc", "/mnt");
	binds();
	if (!has_folder())
		for (int i = 0; i < sources; i++)
			if (strcmp(source[i], "/"))
				add(0, CHDIR, 0, "", source[i]);
	/* What has a place of its own has none once it is taken off. */
	for (int i = 0; i < now_count && !has_folder(); i++)
		if (is_kernel(&now[i]) && is_initial(&now[i]) && strcmp(now[i].type, "proc") &&
		    strcmp(now[i].type, "sysfs"))
			add(0, CHDIR, 0, "", now[i].at);
	for (int i = 0; i < 6; i++) {
		add(0, FSMOUNT, 0, types[i], "/mnt/q");
		add(0, FSMOUNT, 0, types[i], "");
	}
	add(0, TREE, 1, "/proc", "");
	add(0, TREE, 1, "/sys", "");
	add(0, TREE, 0, "/proc/sys/kernel", "/mnt/q");
	add(0, SYMLINK, 0, "/proc", "/mnt/l");
	add(0, BIND, 0, "/mnt/l/sys", "/mnt/q");
	return count;
}
