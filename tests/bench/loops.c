/*
 * loops open|stat|exec|mount ROUNDS: does the same thing over and over, as root in a container,
 * and prints the nanoseconds that one took. What AppArmor is asked at each is what differs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TARGET "/tmp/loops"

/* Short and long, of the container's own files and of the kernel's. */
static const char *const paths[] = {
	"/etc/inittab", "/bin/busybox", "/proc/self/status", "/proc/sys/kernel/hostname",
	"/sys/fs/cgroup/cgroup.procs", "/dev/null",
	TARGET "-folder/with/a/longer/path/as/in/node_modules/or/in/a/python/package/file.py",
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

static int do_open(void)
{
	for (size_t i = 0; i < PATHS; i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return -1;
		close(fd);
	}
	return 0;
}

static int do_stat(void)
{
	struct stat found;

	for (size_t i = 0; i < PATHS; i++)
		if (stat(paths[i], &found))
			return -1;
	return 0;
}

static int do_exec(void)
{
	char *const argv[] = {"loops", "nothing", NULL};
	pid_t child;
	int status;

	if (posix_spawn(&child, "/loops", NULL, NULL, argv, NULL) || waitpid(child, &status, 0) < 0)
		return -1;
	return status;
}

static int do_mount(void)
{
	return mount("none", TARGET, "tmpfs", 0, NULL) || umount(TARGET);
}

static void make_long_path(void)
{
	char part[256];

	snprintf(part, sizeof(part), "%s", paths[PATHS - 1]);
	for (char *slash = part + 5; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(part, 0755);
		*slash = '/';
	}
	close(open(part, O_CREAT | O_WRONLY, 0600));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*once)(void);
	} loops[] = {
		{"open", do_open}, {"stat", do_stat}, {"exec", do_exec}, {"mount", do_mount},
	};
	struct timespec begin, end;
	int rounds;

	if (argc != 3)
		return 0; /* what do_exec runs */
	rounds = atoi(argv[2]);
	mkdir(TARGET, 0755);
	make_long_path();
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		if (strcmp(argv[1], loops[i].name))
			continue;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		for (int n = 0; n < rounds; n++)
			if (loops[i].once()) {
				perror(argv[1]);
				return 1;
			}
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("%.0f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / rounds);
		return 0;
	}
	return 1;
}
