/* Chains: a few words of a language for what changes the tree of mounts, and ways that speak it. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);
int umount2(const char *target, int flags);
#define DETACH 2

enum { WORDS = 6, LINE = 512 };

static int as_flags(char *text, unsigned long *flags)
{
	static const struct {
		const char *word;
		unsigned long flag;
	} known[] = {
		{"rw", 0}, {"ro", MS_RDONLY}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV},
		{"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME}, {"relatime", MS_RELATIME},
		{"silent", MS_SILENT}, {"bind", MS_BIND}, {"remount", MS_REMOUNT},
		{"rec", MS_REC}, {"slave", MS_SLAVE}, {"private", MS_PRIVATE}, {"shared", MS_SHARED},
		{"strictatime", MS_STRICTATIME}, {"move", MS_MOVE},
	};

	*flags = 0;
	for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
		unsigned i = 0;

		while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].word, word))
			i++;
		if (i == sizeof(known) / sizeof(known[0])) {
			errno = EINVAL;
			return -1;
		}
		*flags |= known[i].flag;
	}
	return 0;
}

static int file_at(const char *path)
{
	int fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		return -1;
	return close(fd);
}

static int into(const char *path)
{
	return chroot(path) || chdir("/") ? -1 : 0;
}

/* Where the two processes keep a folder between steps. */
static int kept = -1;

static int keep(const char *path)
{
	if (kept >= 0)
		close(kept);
	kept = open(path, O_PATH | O_CLOEXEC);
	return kept < 0 ? -1 : 0;
}

/* What was renamed, to have it back: the container's next row has the same folders. */
static char names[16][2][128];
static int renames;

static int renamed(const char *from, const char *to)
{
	if (renames == 16 || rename(from, to))
		return -1;
	snprintf(names[renames][0], sizeof(names[0][0]), "%s", from);
	snprintf(names[renames++][1], sizeof(names[0][1]), "%s", to);
	return 0;
}

static void names_back(void)
{
	while (renames--)
		if (rename(names[renames][1], names[renames][0]))
			perror(names[renames][1]);
}

/* One step, in words: see step() in attack.h. */
static int one(char **word, int words)
{
	unsigned long flags = 0;
	const char *verb = word[0], *a = words > 1 ? word[1] : "", *b = words > 2 ? word[2] : "";

	if (!strcmp(verb, "mount")) {
		if (words > 3 && as_flags(word[3], &flags))
			return -1;
		return mount("none", b, a, flags, words > 4 ? word[4] : NULL);
	}
	if (!strcmp(verb, "bind"))
		return mount(a, b, NULL, MS_BIND, NULL);
	if (!strcmp(verb, "rbind"))
		return mount(a, b, NULL, MS_BIND | MS_REC, NULL);
	if (!strcmp(verb, "move"))
		return mount(a, b, NULL, MS_MOVE, NULL);
	if (!strcmp(verb, "flags")) /* flags FLAGS TARGET [DATA]: remounts, propagation */
		return as_flags(word[1], &flags) ? -1
						 : mount(NULL, b, NULL, flags, words > 3 ? word[3] : NULL);
	if (!strcmp(verb, "umount"))
		return umount2(a, DETACH);
	if (!strcmp(verb, "pivot"))
		return syscall(SYS_pivot_root, a, b) || chdir("/") ? -1 : 0;
	if (!strcmp(verb, "chroot"))
		return into(a);
	if (!strcmp(verb, "mkdir"))
		return mkdirat(AT_FDCWD, a, 0755) && errno != EEXIST ? -1 : 0;
	if (!strcmp(verb, "file"))
		return file_at(a);
	if (!strcmp(verb, "rename"))
		return renamed(a, b);
	if (!strcmp(verb, "symlink"))
		return symlink(a, b);
	if (!strcmp(verb, "chdir"))
		return chdir(a);
	if (!strcmp(verb, "keep"))
		return keep(a);
	if (!strcmp(verb, "tokept"))
		return fchdir(kept);
	if (!strcmp(verb, "unshare"))
		return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, RECURSIVE_PRIVATE, NULL) ? -1 : 0;
	errno = EINVAL;
	return -1;
}

static int spoken(const char *text)
{
	char line[LINE], *word[WORDS], *rest = line;
	int words = 0, may_fail;

	snprintf(line, sizeof(line), "%s", text);
	while (words < WORDS && (word[words] = strtok_r(words ? NULL : line, " ", &rest)))
		words++;
	if (!words)
		return 0;
	may_fail = word[0][0] == '?'; /* ?umount /proc: as often as it can */
	if (may_fail) {
		word[0]++;
		for (int tries = 0; tries < 32 && !one(word, words); tries++)
			;
		return 0;
	}
	return one(word, words);
}

/* The second process: a mount namespace of its own, taken when it is first spoken to. */
static int second = -1;

static void serve(int channel)
{
	char line[LINE];
	ssize_t length;

	if (unshare(CLONE_NEWNS))
		_exit(1);
	mount(NULL, "/", NULL, RECURSIVE_PRIVATE, NULL);
	while ((length = read(channel, line, sizeof(line) - 1)) > 0) {
		int error;

		line[length] = '\0';
		error = spoken(line) ? errno : 0;
		if (write(channel, &error, sizeof(error)) != sizeof(error))
			break;
	}
	names_back();
	_exit(0);
}

static int in_second(const char *text)
{
	int pair[2], error = 0;

	if (second < 0) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			return -1;
		if (fork() == 0) {
			close(pair[0]);
			serve(pair[1]);
		}
		close(pair[1]);
		second = pair[0];
	}
	if (write(second, text, strlen(text) + 1) < 0 ||
	    read(second, &error, sizeof(error)) != sizeof(error)) {
		errno = EPIPE;
		return -1;
	}
	errno = error;
	return error ? -1 : 0;
}

int step(const char *text)
{
	while (*text == ' ')
		text++;
	if (text[0] == '2' && text[1] == ':')
		return in_second(text + 2);
	return spoken(text);
}

void steps_undo(void)
{
	if (second >= 0) {
		close(second);
		waitpid(-1, NULL, 0);
		second = -1;
	}
	names_back();
	renames = 0;
}

int steps(const char *script, char *at, int size)
{
	char copy[2048], *rest = copy;

	snprintf(copy, sizeof(copy), "%s", script);
	for (char *line = strtok_r(copy, ";", &rest); line; line = strtok_r(NULL, ";", &rest)) {
		snprintf(at, size, "%s", line);
		if (step(line))
			return -1;
	}
	return 0;
}

/* row->what: the steps; what is then done goes by absolute paths. */
int by_steps(const struct row *row)
{
	char at[LINE];

	if (steps(row->what, at, sizeof(at))) {
		int error = errno;

		if (getenv("ATTACK_VERBOSE"))
			fprintf(stderr, "%s: %s: %s\n", row->name, at, strerror(error));
		/* A place that is missing is no answer of the kernel's to the chain. */
		errno = error == ENOENT ? EACCES : error;
		return -1;
	}
	return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The same, and then in the folder that was kept (keep PATH). */
int by_steps_kept(const struct row *row)
{
	int root = by_steps(row);

	if (root < 0)
		return -1;
	close(root);
	return dup(kept);
}
