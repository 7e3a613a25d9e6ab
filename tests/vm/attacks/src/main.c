/*
 * Runs every row, or those named, as root in a container, and prints one line each:
 *
 *     NAME <tab> harm|stopped|n/a <tab> detail
 *
 * Each row runs in a process and a mount namespace of its own, so that what it mounts
 * is gone with it, and has ten seconds. "harm" is said only after the effect was seen
 * (a value read back, a profile left, a file of the host read); it is undone at once.
 * "n/a" means that this kernel or this container does not offer the thing at all.
 */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);
#define RECURSIVE 0x8000	    /* AT_RECURSIVE */

/* LXC mounts /proc/sys and /sys of a privileged container read-only. Root inside takes
 * that back with mount_setattr(2), which no security module is asked about: so it is no
 * protection, and what a row shows is what the profile does. */
static void writable(const char *path)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};

	syscall(SYS_mount_setattr, AT_FDCWD, path, RECURSIVE, &attr, sizeof(attr));
}

static void attempt(const struct row *row, struct result *result)
{
	int root = -1;

	if (unshare(CLONE_NEWNS)) {
		failed(result, "unshare", errno);
		return;
	}
	/* Nothing that a row mounts may reach another row; if this is refused, so be it. */
	mount(NULL, "/", NULL, RECURSIVE_PRIVATE, NULL);
	writable("/proc");
	writable("/sys");
	writable("/dev");
	if (row->way) {
		root = row->way(row);
		if (root < 0) {
			failed(result, "way", errno);
			return;
		}
	}
	row->deed(row, root, result);
}

static void run(const struct row *row)
{
	static const char *const words[] = {"stopped", "harm", "n/a"};
	struct result result = {STOPPED, "no answer in time"};
	int channel[2];
	pid_t child;

	if (pipe(channel))
		return;
	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct result mine = {STOPPED, ""};

		close(channel[0]);
		setpgid(0, 0);
		alarm(10);
		attempt(row, &mine);
		steps_undo();
		if (write(channel[1], &mine, sizeof(mine)) != sizeof(mine))
			_exit(1);
		_exit(0);
	}
	close(channel[1]);
	if (read(channel[0], &result, sizeof(result)) != sizeof(result))
		stopped(&result, "no answer");
	close(channel[0]);
	kill(-child, SIGKILL);
	waitpid(child, NULL, 0);
	printf("%s\t%s\t%s\n", row->name, words[result.verdict], result.detail);
}

/* Those named; chain-: all that begin so; without a name: all. */
static void all(const struct row *row, int argc, char **argv)
{
	for (; row->name; row++) {
		int wanted = argc < 2;

		for (int i = 1; i < argc; i++) {
			size_t length = strlen(argv[i]);

			wanted |= !strcmp(argv[i], row->name) ||
				  (argv[i][length - 1] == '-' && !strncmp(argv[i], row->name, length));
		}
		if (wanted)
			run(row);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--probe"))
		return probe();
	all(rows, argc, argv);
	all(chains, argc, argv);
	if (argc > 1)
		all(settings, argc, argv);
	return 0;
}
