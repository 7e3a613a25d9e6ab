#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(struct result *result, enum verdict verdict, const char *format, va_list args)
{
	result->verdict = verdict;
	vsnprintf(result->detail, sizeof(result->detail), format, args);
}

void harm(struct result *result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(result, HARM, format, args);
	va_end(args);
}

void stopped(struct result *result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(result, STOPPED, format, args);
	va_end(args);
}

void not_here(struct result *result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(result, NOT_HERE, format, args);
	va_end(args);
}

void failed(struct result *result, const char *doing, int error)
{
	/* Not ENOSYS: the kernels tried here have every system call, so a seccomp policy says it. */
	switch (error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
	case EOPNOTSUPP:
		not_here(result, "%s: %s", doing, strerror(error));
		break;
	default:
		stopped(result, "%s: %s", doing, strerror(error));
	}
}

int read_text(int root, const char *path, char *text, int size)
{
	int fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int length;

	if (fd < 0)
		return -1;
	length = read(fd, text, size - 1);
	close(fd);
	if (length < 0)
		return -1;
	text[length] = '\0';
	return length;
}

/* Makes every folder of PATH that is missing; a failure shows in what follows. */
void make_target(const char *path)
{
	char part[256];

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(part, 0755);
		*slash = '/';
	}
	mkdir(part, 0755);
}

/* Whether root here is somebody else on the host. */
int own_user_namespace(void)
{
	char map[64];

	return read_text(AT_FDCWD, "/proc/self/uid_map", map, sizeof(map)) < 0 ||
	       !strstr(map, "4294967295");
}
