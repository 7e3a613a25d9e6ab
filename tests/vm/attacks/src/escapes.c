/* Tricks that need no file system: labels, policy, devices, kernel calls. */
#define _GNU_SOURCE
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/reboot.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);

#define LABEL "/proc/self/attr/current"

static void label(char *text, int size)
{
	if (read_text(AT_FDCWD, LABEL, text, size) < 0)
		snprintf(text, size, "unknown");
	text[strcspn(text, "\n")] = '\0';
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int done;

	if (fd < 0)
		return -1;
	done = write(fd, text, strlen(text));
	close(fd);
	return done < 0 ? -1 : 0;
}

/* Whether a profile of LXC's kind still holds. Each denies to make files in this folder, by their
 * path: on a tmpfs of one's own in that place only the profile can refuse. Within a policy
 * namespace the label does not tell, because the profile outside does not show there. */
static int held(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		if (unshare(CLONE_NEWNS))
			_exit(1);
		mount(NULL, "/", NULL, RECURSIVE_PRIVATE, NULL);
		if (mount("none", "/sys", "tmpfs", 0, NULL))
			_exit(1);
		make_target("/sys/firmware/efi/efivars");
		_exit(open("/sys/firmware/efi/efivars/attack", O_CREAT | O_WRONLY, 0600) < 0);
	}
	waitpid(child, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

/* What a program that was executed after the attempt finds: printed for judge(). */
int probe(void)
{
	char now[160];

	label(now, sizeof(now));
	printf("%d%s", held(), now);
	return 0;
}

/* Harm: the profile no longer holds, or it is another one. Whoever never had one is free. */
static void judge(int held_before, const char *before, int held_after, const char *after,
		  int error, struct result *result)
{
	if (!held_before || !held_after)
		harm(result, "free, as %s", after);
	else if (!strcmp(before, after))
		error ? failed(result, "write", error) : stopped(result, "still held, as %s", after);
	else if (strstr(after, before))
		stopped(result, "stacked: %s", after);
	else
		harm(result, "is %s", after);
}

/* row->what: the attribute file, row->value: the command */
void change_profile(const struct row *row, int root, struct result *result)
{
	char before[160], after[160];
	int held_before = held();
	int error = 0;

	label(before, sizeof(before));
	if (put(row->what, row->value))
		error = errno;
	label(after, sizeof(after));
	judge(held_before, before, held(), after, error, result);
	(void)root;
}

/* The change that comes with the next execve. */
void exec_profile(const struct row *row, int root, struct result *result)
{
	char before[160], after[160] = "";
	int channel[2], length, error = 0;
	int held_before = held();
	pid_t child;

	label(before, sizeof(before));
	if (put(row->what, row->value))
		error = errno;
	if (pipe(channel)) {
		failed(result, "pipe", errno);
		return;
	}
	child = fork();
	if (child == 0) {
		dup2(channel[1], 1);
		execl("/proc/self/exe", "attack", "--probe", NULL);
		_exit(1);
	}
	close(channel[1]);
	waitpid(child, NULL, 0);
	length = read(channel[0], after, sizeof(after) - 1);
	after[length > 0 ? length : 0] = '\0';
	if (!after[0])
		stopped(result, "execve refused");
	else
		judge(held_before, before, after[0] == '1', after + 1, error, result);
	(void)root;
}

/* /attack.policy: a compiled profile named attack-policy, put there by the test, which
 * also looks on the host for what was loaded, and removes it. The kernel lets a user
 * namespace load policy into a policy namespace that it owns, and into no other. */
void load_policy(const struct row *row, int root, struct result *result)
{
	static char policy[1 << 16];
	int file = open("/attack.policy", O_RDONLY);
	int length = file < 0 ? -1 : read(file, policy, sizeof(policy));
	int fd;

	if (length <= 0) {
		not_here(result, "no /attack.policy");
		return;
	}
	if (row->value)
		length = snprintf(policy, sizeof(policy), "%s", row->value);
	fd = openat(root, row->path, O_WRONLY);
	if (fd < 0) {
		failed(result, "open", errno);
		return;
	}
	/* ENOENT: nothing to remove; EEXIST: it is there already. */
	if (write(fd, policy, length) >= 0 || errno == ENOENT || errno == EEXIST)
		own_user_namespace()
			? not_here(result, "into the container's own policy namespace")
			: harm(result, "the kernel took it");
	else
		failed(result, "write", errno);
	close(fd);
}

void make_namespace(const struct row *row, int root, struct result *result)
{
	make_dir(row, root, result);
}

/* cgroup v1 runs a program of the host's choosing, which here a mount option chooses,
 * when a group is left empty. Harm once notify_on_release is on. */
void agent_option(const struct row *row, int root, struct result *result)
{
	int context = syscall(SYS_fsopen, "cgroup", 0);

	if (context < 0 ||
	    syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "none", NULL, 0) ||
	    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "name", "attack-option", 0) ||
	    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "release_agent", "/bin/true", 0) ||
	    syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		failed(result, "fsconfig", errno);
		return;
	}
	root = syscall(SYS_fsmount, context, 0, 0);
	if (root < 0) {
		failed(result, "fsmount", errno);
		return;
	}
	if (mkdirat(root, "attack", 0755) && errno != EEXIST) {
		failed(result, "mkdir", errno);
		return;
	}
	change(row, root, result);
	unlinkat(root, "attack", AT_REMOVEDIR);
}

static void read_node(const char *path, mode_t kind, dev_t device, struct result *result)
{
	char bytes[512];
	int fd;

	unlink(path);
	if (mknod(path, kind | 0600, device)) {
		failed(result, "mknod", errno);
		return;
	}
	fd = open(path, O_RDONLY);
	unlink(path);
	if (fd < 0)
		failed(result, "open", errno);
	else if (read(fd, bytes, sizeof(bytes)) <= 0)
		failed(result, "read", errno);
	else
		harm(result, "read %zu bytes", sizeof(bytes));
}

/* The disk with the host's root: the first line of /proc/partitions. */
void read_disk(const struct row *row, int root, struct result *result)
{
	FILE *table = fopen("/proc/partitions", "r");
	char line[160];
	unsigned major_number, minor_number;

	while (table && fgets(line, sizeof(line), table))
		if (sscanf(line, "%u %u", &major_number, &minor_number) == 2) {
			read_node(row->path, S_IFBLK, makedev(major_number, minor_number), result);
			return;
		}
	not_here(result, "no disk");
	(void)root;
}

void read_mem(const struct row *row, int root, struct result *result)
{
	read_node(row->path, S_IFCHR, makedev(1, atoi(row->value)), result);
	(void)root;
}

/* A file handle made up from inode number 2, the root of an ext file system; /attack-host is a
 * folder of the host's that an admin has given to the container. */
void handle(const struct row *row, int root, struct result *result)
{
	struct {
		struct file_handle head;
		unsigned bytes[2];
	} top = {.head = {.handle_bytes = 8, .handle_type = 1}, .bytes = {2, 0}};
	int mounted = open("/attack-host", O_RDONLY | O_DIRECTORY);
	int fd = open_by_handle_at(mounted, &top.head, O_RDONLY | O_DIRECTORY);
	struct stat here, there;

	if (fd < 0)
		failed(result, "open_by_handle_at", errno);
	else if (fstat(fd, &there) || fstat(mounted, &here) || here.st_dev != there.st_dev)
		stopped(result, "not the host's file system");
	else
		harm(result, "opened the root of the host's file system");
	(void)row;
	(void)root;
}

static void refused_unless(long value, int expected, const char *doing, struct result *result)
{
	if (value == 0 || errno == expected)
		harm(result, "%s: permitted", doing);
	else
		failed(result, doing, errno);
}

void module_load(const struct row *row, int root, struct result *result)
{
	refused_unless(syscall(SYS_init_module, "no module", 9, ""), ENOEXEC, "init_module", result);
	(void)row;
	(void)root;
}

void module_unload(const struct row *row, int root, struct result *result)
{
	errno = 0;
	if (syscall(SYS_delete_module, "attack_none", O_NONBLOCK) == 0 || errno == ENOENT)
		harm(result, "delete_module: permitted");
	else
		failed(result, "delete_module", errno);
	(void)row;
	(void)root;
}

/* Unloads a crash kernel, of which there is none. */
void kexec(const struct row *row, int root, struct result *result)
{
	refused_unless(syscall(SYS_kexec_load, 0, 0, NULL, 0), EBUSY, "kexec_load", result);
	(void)row;
	(void)root;
}

/* The time that it is already. */
void set_clock(const struct row *row, int root, struct result *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	refused_unless(clock_settime(CLOCK_REALTIME, &now), 0, "clock_settime", result);
	(void)row;
	(void)root;
}

void raw_io(const struct row *row, int root, struct result *result)
{
	refused_unless(iopl(3), 0, "iopl", result);
	(void)row;
	(void)root;
}

/* Limits of a cgroup that is not below this container's own. */
void other_cgroup(const struct row *row, int root, struct result *result)
{
	DIR *groups;
	struct dirent *entry;
	int seen = 0;

	groups = fdopendir(openat(root, ".", O_RDONLY | O_DIRECTORY));
	while (groups && (entry = readdir(groups)))
		seen |= !strcmp(entry->d_name, row->path);
	if (!seen) {
		stopped(result, "only the own cgroups are there");
		return;
	}
	make_dir(&(struct row){.path = row->value}, root, result);
}
