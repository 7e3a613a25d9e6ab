/* The state: which file systems are mounted where. */
#define _GNU_SOURCE
#include "search.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct shared *shared;
struct mountpoint now[MOUNTS];
int now_count;
int proc_folder = -1, root_folder = -1;

uint64_t hash(uint64_t before, const char *text)
{
	uint64_t value = before ^ 0xcbf29ce484222325ULL;

	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 0x100000001b3ULL;
	value = (value ^ 0xff) * 0x100000001b3ULL;
	return value ? value : 1;
}

static uint64_t spread(uint64_t value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdULL;
	value ^= value >> 33;
	return value;
}

int set_has(const uint64_t *set, int size, uint64_t value)
{
	for (unsigned at = spread(value), tries = 0; tries < 64; at++, tries++) {
		uint64_t there = set[at & (size - 1)];

		if (there == value)
			return 1;
		if (!there)
			return 0;
	}
	return 0;
}

int set_add(uint64_t *set, int size, uint64_t value)
{
	for (unsigned at = spread(value), tries = 0; tries < 64; at++, tries++) {
		uint64_t *there = &set[at & (size - 1)];

		if (*there == value)
			return 0;
		if (!*there) {
			*there = value;
			return 1;
		}
	}
	return 1; /* full: then it is looked at again */
}

static void copy(char *to, const char *from, int size)
{
	snprintf(to, size, "%s", from);
}

/* A line of mountinfo; 0 if it is none. */
static int parse(char *line, struct mountpoint *mount)
{
	char *word[16], *rest = line;
	int words = 0, dash = 0;

	while (words < 16 && (word[words] = strtok_r(words ? NULL : line, " ", &rest))) {
		if (!strcmp(word[words], "-"))
			dash = words;
		words++;
	}
	if (!dash || words < dash + 2)
		return 0;
	copy(mount->dev, word[2], sizeof(mount->dev));
	copy(mount->root, word[3], PATH);
	copy(mount->at, word[4], PATH);
	mount->ro = !strncmp(word[5], "ro", 2);
	copy(mount->type, word[dash + 1], sizeof(mount->type));
	copy(mount->super, words > dash + 3 ? word[dash + 3] : "", sizeof(mount->super));
	return 1;
}

static char text[1 << 16];

static int read_mounts(int pid)
{
	char name[64];
	int fd, length = 0, got;

	snprintf(name, sizeof(name), pid ? "%d/mountinfo" : "self/mountinfo", pid);
	fd = openat(proc_folder, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += got;
	close(fd);
	text[length] = '\0';
	return length;
}

uint64_t mounts_now(void)
{
	return read_mounts(0) < 0 ? 0 : hash(0, text);
}

int mounts_of(int pid, struct mountpoint *mounts)
{
	char *rest = text;
	int count = 0;

	if (read_mounts(pid) < 0)
		return -1;
	for (char *line = strtok_r(text, "\n", &rest); line && count < MOUNTS;
	     line = strtok_r(NULL, "\n", &rest))
		count += parse(line, &mounts[count]);
	return count;
}

static uint64_t atom(uint64_t before, const struct mountpoint *mount)
{
	before = hash(before, mount->type);
	before = hash(before, mount->root);
	before = hash(before, mount->at);
	return hash(before, mount->ro ? "ro" : "rw");
}

int is_initial(const struct mountpoint *mount)
{
	uint64_t value = atom(0, mount);

	for (int i = 0; i < shared->initials; i++)
		if (shared->initial[i] == value)
			return 1;
	return 0;
}

static uint64_t standing;

uint64_t context(void)
{
	return standing + past();
}

/* Mounts on each other at a place are told apart by how many there are. */
static void look_at(struct mountpoint *mounts, int count, uint64_t who, struct result *result)
{
	for (int i = 0; i < count; i++) {
		uint64_t value = atom(who, &mounts[i]);
		int below = 0;

		for (int j = 0; j < i; j++)
			below += !strcmp(mounts[j].at, mounts[i].at);
		value += below;
		result->state += spread(value);
		if (!who && is_initial(&mounts[i]))
			standing += spread(value);
		else if (result->count < ATOMS)
			result->atoms[result->count++] = value;
	}
}

int look(struct result *result)
{
	static struct mountpoint other[MOUNTS];
	int second = second_process(), others;

	standing = 0;
	result->count = 0;
	result->state = past();
	now_count = mounts_of(0, now);
	if (now_count < 0)
		return -1;
	look_at(now, now_count, root_name(), result);
	if (result->count < ATOMS && result->state)
		result->atoms[result->count++] = past();
	if (second && (others = mounts_of(second, other)) >= 0) {
		struct result aside = {.count = 0};

		look_at(other, others, 2, &aside);
		result->state += spread(aside.state);
		if (result->count < ATOMS)
			result->atoms[result->count++] = aside.state;
	}
	return 0;
}

void open_world(void)
{
	proc_folder = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}
