/* What is done to a file that a way has reached. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int put(int root, const char *path, const char *text)
{
	int fd = openat(root, path, O_WRONLY | O_CLOEXEC);
	int done;

	if (fd < 0)
		return -1;
	done = write(fd, text, strlen(text));
	if (close(fd) || done < 0)
		return -1;
	return 0;
}

/* Writes another value, sees whether it is there, and puts the old one back. */
void change(const struct row *row, int root, struct result *result)
{
	char before[256], after[256];

	if (read_text(root, row->path, before, sizeof(before)) < 0) {
		failed(result, "read", errno);
		return;
	}
	if (put(root, row->path, row->value)) {
		failed(result, "write", errno);
		return;
	}
	if (read_text(root, row->path, after, sizeof(after)) < 0)
		after[0] = '\0';
	put(root, row->path, before[0] ? before : "\n");
	after[strcspn(after, "\n")] = '\0';
	if (!strcmp(before, after))
		stopped(result, "value stayed %s", after);
	else
		harm(result, "value became %s", after);
}

/* The same by the last name only, below a way that has used the folders before it. */
void change_last(const struct row *row, int root, struct result *result)
{
	struct row last = *row;

	last.path = strrchr(row->path, '/') + 1;
	change(&last, root, result);
}

/* A file that acts on what is written; the value is a harmless one. */
void trigger(const struct row *row, int root, struct result *result)
{
	if (put(root, row->path, row->value))
		failed(result, "write", errno);
	else
		harm(result, "wrote %s", row->value);
}

/* Writes what the kernel cannot take: EINVAL says that only the value was wrong. */
void nonsense(const struct row *row, int root, struct result *result)
{
	if (!put(root, row->path, row->value) || errno == EINVAL || errno == ERANGE)
		harm(result, "the kernel looked at the value");
	else
		failed(result, "write", errno);
}

/* Writes the value that is there already: nothing changes, but something else could. */
void same(const struct row *row, int root, struct result *result)
{
	char value[256], *chosen;

	if (read_text(root, row->path, value, sizeof(value)) < 0) {
		failed(result, "read", errno);
		return;
	}
	/* "always [madvise] never" */
	chosen = strchr(value, '[');
	if (chosen) {
		chosen++;
		chosen[strcspn(chosen, "]")] = '\0';
	}
	if (put(root, row->path, chosen ? chosen : value))
		failed(result, "write", errno);
	else
		harm(result, "wrote %s", chosen ? chosen : "the value");
}

/* The mode that a file of the kernel's has already: it is one for all mounts, also the host's. */
void same_mode(const struct row *row, int root, struct result *result)
{
	struct stat now;

	if (fstatat(root, row->path, &now, 0))
		failed(result, "stat", errno);
	else if (fchmodat(root, row->path, now.st_mode & 07777, 0))
		failed(result, "chmod", errno);
	else
		harm(result, "the host's folder gets the mode that we say");
}

/* Memory and registers of the first device that has some. */
void map_device(const struct row *row, int root, struct result *result)
{
	glob_t found;

	failed(result, "no device", ENODEV);
	if (glob(row->path, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc && result->verdict != HARM; i++) {
		int fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC);
		volatile unsigned *memory = MAP_FAILED;

		if (fd >= 0)
			memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		if (memory != MAP_FAILED)
			harm(result, "%.60s begins with %08x", found.gl_pathv[i], memory[0]);
		else if (fd < 0)
			failed(result, "open", errno);
		close(fd);
	}
	globfree(&found);
	(void)root;
}

/* Reads what belongs to the host. */
void leak(const struct row *row, int root, struct result *result)
{
	char text[64];
	int length = read_text(root, row->path, text, sizeof(text));

	if (length < 0)
		failed(result, "read", errno);
	else if (length == 0)
		not_here(result, "empty");
	else
		harm(result, "read %d bytes", length);
}

/* A file system of which there is one for the whole machine: to have it is the harm. */
void visible(const struct row *row, int root, struct result *result)
{
	int fd = openat(root, row->path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		failed(result, "open", errno);
	else
		harm(result, "the host's own is there");
}

void make_dir(const struct row *row, int root, struct result *result)
{
	if (mkdirat(root, row->path, 0755)) {
		failed(result, "mkdir", errno);
		return;
	}
	unlinkat(root, row->path, AT_REMOVEDIR);
	harm(result, "made a folder");
}

void make_file(const struct row *row, int root, struct result *result)
{
	int fd = openat(root, row->path, O_CREAT | O_EXCL | O_WRONLY, 0600);

	if (fd < 0) {
		failed(result, "create", errno);
		return;
	}
	unlinkat(root, row->path, 0);
	harm(result, "made a file");
}

/* Takes a device node of the host away for a moment. */
void rename_node(const struct row *row, int root, struct result *result)
{
	if (renameat(root, row->path, root, row->value)) {
		failed(result, "rename", errno);
		return;
	}
	renameat(root, row->value, root, row->path);
	harm(result, "renamed");
}

/* A handler for a made-up magic number: it would run as whoever executes such a file. */
void bind_format(const struct row *row, int root, struct result *result)
{
	if (put(root, row->path, ":attack:M::attackmagic::/bin/false:")) {
		failed(result, "register", errno);
		return;
	}
	put(root, "attack", "-1");
	if (own_user_namespace()) /* Linux 6.7: each user namespace has a binfmt_misc of its own */
		not_here(result, "the container's own binfmt_misc");
	else
		harm(result, "registered a handler");
}

/* The same write, but opened and written by io_uring. */
static long uring_one(int ring, void *sq_map, struct io_uring_params *params,
		      struct io_uring_sqe *entries, const struct io_uring_sqe *entry, void *cq_map)
{
	unsigned *tail = (unsigned *)((char *)sq_map + params->sq_off.tail);
	unsigned *array = (unsigned *)((char *)sq_map + params->sq_off.array);
	unsigned *head = (unsigned *)((char *)cq_map + params->cq_off.head);
	unsigned mask = *(unsigned *)((char *)sq_map + params->sq_off.ring_mask);
	struct io_uring_cqe *done = (struct io_uring_cqe *)((char *)cq_map + params->cq_off.cqes);
	unsigned slot = *tail & mask;
	long value;

	entries[slot] = *entry;
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	value = done[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return value;
}

void by_uring(const struct row *row, int root, struct result *result)
{
	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	struct io_uring_sqe *entries;
	struct io_uring_sqe entry = {0};
	char before[256];
	void *sq_map, *cq_map;
	long fd, done;

	if (ring < 0) {
		failed(result, "io_uring_setup", errno);
		return;
	}
	sq_map = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned),
		      PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq_map = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		      PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
		       MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq_map == MAP_FAILED || cq_map == MAP_FAILED || entries == MAP_FAILED) {
		failed(result, "mmap", errno);
		return;
	}
	read_text(root, row->path, before, sizeof(before));
	entry.opcode = IORING_OP_OPENAT;
	entry.fd = root;
	entry.addr = (unsigned long)row->path;
	entry.open_flags = O_WRONLY;
	fd = uring_one(ring, sq_map, &params, entries, &entry, cq_map);
	if (fd < 0) {
		failed(result, "io_uring openat", -fd);
		return;
	}
	memset(&entry, 0, sizeof(entry));
	entry.opcode = IORING_OP_WRITE;
	entry.fd = fd;
	entry.addr = (unsigned long)row->value;
	entry.len = strlen(row->value);
	done = uring_one(ring, sq_map, &params, entries, &entry, cq_map);
	if (done < 0) {
		failed(result, "io_uring write", -done);
		return;
	}
	put(root, row->path, before);
	harm(result, "wrote %s", row->value);
}

/* A path-only descriptor opened again through /proc/self/fd. */
void by_reopen(const struct row *row, int root, struct result *result)
{
	int fd = openat(root, row->path, O_PATH);
	char path[64];
	struct row again = *row;

	if (fd < 0) {
		failed(result, "open as path", errno);
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again.path = path;
	change(&again, AT_FDCWD, result);
}

void by_hardlink(const struct row *row, int root, struct result *result)
{
	struct row again = *row;

	unlink("/tmp/attack-hard");
	if (linkat(root, row->path, AT_FDCWD, "/tmp/attack-hard", AT_SYMLINK_FOLLOW)) {
		failed(result, "link", errno);
		return;
	}
	again.path = "/tmp/attack-hard";
	change(&again, AT_FDCWD, result);
	unlink("/tmp/attack-hard");
}

static volatile int racing = 1;

static void *swap_links(void *unused)
{
	while (racing)
		renameat2(AT_FDCWD, "/tmp/attack-a", AT_FDCWD, "/tmp/attack-b", RENAME_EXCHANGE);
	return unused;
}

/* One name that is a link now to an own file and now to the kernel's. */
void by_race(const struct row *row, int root, struct result *result)
{
	char target[256];
	pthread_t swapper;
	int own = open("/tmp/attack-own", O_CREAT | O_WRONLY, 0600);
	struct stat mine, seen;

	snprintf(target, sizeof(target), "%s/%s", row->what, row->path);
	unlink("/tmp/attack-a");
	unlink("/tmp/attack-b");
	if (own < 0 || fstat(own, &mine) || symlink("/tmp/attack-own", "/tmp/attack-a") ||
	    symlink(target, "/tmp/attack-b") || pthread_create(&swapper, NULL, swap_links, NULL)) {
		failed(result, "prepare", errno);
		return;
	}
	stopped(result, "300 tries, only the own file");
	for (int i = 0; i < 300; i++) {
		int fd = open("/tmp/attack-a", O_WRONLY);

		if (fd < 0)
			continue;
		if (!fstat(fd, &seen) && seen.st_dev != mine.st_dev) {
			harm(result, "opened for writing after %d tries", i + 1);
			break;
		}
		close(fd);
	}
	racing = 0;
	pthread_join(swapper, NULL);
	(void)root;
}

int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);

/* The steps have given a file system of the host's another option: it is taken back at once. */
void host_option(const struct row *row, int root, struct result *result)
{
	harm(result, "a file system of the host's has another option");
	if (mount(NULL, row->where, NULL, 32 /* MS_REMOUNT */, row->value))
		harm(result, "…and keeps it: %s", strerror(errno));
	(void)root;
}
