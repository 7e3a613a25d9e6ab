/* What every tool needs. */
#include "tools.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void fail(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "nvidia-replay: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(arguments);
	exit(1);
}

void do_mount(const char *source, const char *target, const char *type, unsigned long flags,
	      const char *data)
{
	char place[4096];
	ssize_t length = readlink(target, place, sizeof(place) - 1);

	if (mount(source, target, type, flags, data) == 0)
		return;
	place[length > 0 ? length : 0] = 0;
	fail("mount %s on %s%s%s%s, flags 0x%lx", source ? source : "-", target,
	     *place ? " = " : "", place, type ? type : "", flags);
}

const char *below(const struct container *container, const char *path)
{
	static char buffers[4][8192];
	static int next;
	char *buffer = buffers[next++ % 4];

	snprintf(buffer, sizeof(buffers[0]), "%s%s", container->root, path);
	return buffer;
}

void make_folder(const char *path)
{
	char part[8192];

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(part, 0755);
		*slash = '/';
	}
	if (mkdir(part, 0755) && errno != EEXIST)
		fail("mkdir %s", path);
}

void make_file(const char *path, const char *text)
{
	char copy[8192];
	int file;

	snprintf(copy, sizeof(copy), "%s", path);
	make_folder(dirname(copy));
	file = open(path, O_WRONLY | O_CREAT | (text ? O_TRUNC : 0), 0755);
	if (file < 0)
		fail("create %s", path);
	if (text && write(file, text, strlen(text)) != (ssize_t)strlen(text))
		fail("write %s", path);
	close(file);
}

static const char *all_of(int file, const char *name)
{
	static char text[1 << 20];
	size_t filled = 0;
	ssize_t got;

	while ((got = read(file, text + filled, sizeof(text) - 1 - filled)) > 0)
		filled += got;
	if (got < 0)
		fail("read %s", name);
	text[filled] = 0;
	return text;
}

const char *text_of(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	const char *text;

	if (file < 0)
		fail("open %s", path);
	text = all_of(file, path);
	close(file);
	return text;
}

/* The string value of a key in JSON, after another key. */
static void value_of(const char *json, const char *after, const char *key, char *value, size_t size)
{
	const char *at = after ? strstr(json, after) : json;
	size_t length;

	at = at ? strstr(at, key) : NULL;
	at = at ? strchr(at + strlen(key), '"') : NULL;
	if (!at)
		fail("no %s in %.200s", key, json);
	length = strcspn(++at, "\"");
	if (length >= size)
		fail("%s is too long", key);
	memcpy(value, at, length);
	value[length] = 0;
}

struct container told(void)
{
	struct container container = {0};
	const char *state = all_of(STDIN_FILENO, "stdin");
	const char *pid = strstr(state, "\"pid\":");
	char bundle[2000], config[4096], root[2000];

	if (!pid)
		fail("no pid in %.200s", state);
	container.pid = atoi(pid + strlen("\"pid\":"));
	value_of(state, NULL, "\"bundle\":", bundle, sizeof(bundle));
	snprintf(config, sizeof(config), "%s/config.json", bundle);
	value_of(text_of(config), "\"root\":", "\"path\":", root, sizeof(root));
	if (*root == '/')
		snprintf(container.root, sizeof(container.root), "%s", root);
	else
		snprintf(container.root, sizeof(container.root), "%s/%s", bundle, root);
	return container;
}

void need_driver_folder(const char *driver)
{
	char above[8192];

	if (access(driver, F_OK) == 0)
		return;
	snprintf(above, sizeof(above), "%s", driver);
	do_mount("tmpfs", dirname(above), "tmpfs", 0, NULL);
	make_folder(driver);
}

void wait_for(pid_t child, const char *name)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child)
		fail("%s", name);
	if (status) {
		fprintf(stderr, "nvidia-replay: %s ended with 0x%x\n", name, status);
		exit(1);
	}
}
