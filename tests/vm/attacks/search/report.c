/* What was found: once of a kind, with no more steps than it takes. */
#define _GNU_SOURCE
#include "search.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { KINDS = 4096 };

static uint64_t kinds[KINDS];
int found, most_found = 20, known_parts;
const char *known[16];

static void print_found(const struct result *result, const struct step *steps, int depth)
{
	int second = 0;
	char line[512];

	printf("# FOUND %s: %s (%d steps, severe: %d)\n", result->kind, result->found, depth, result->severe);
	for (int i = 0; i < depth; i++)
		second |= steps[i].who;
	printf("unshare -m --propagation private sh -e <<'EOF'\n");
	for (int i = 0; i < depth; i++) {
		if (second && steps[i].who) {
			printf("mkfifo /run/2; unshare -m --propagation unchanged sh </run/2 & exec 9>/run/2\n");
			second = 0;
		}
		shell_step(&steps[i], line, sizeof(line));
		printf("%s\n", line);
	}
	printf("EOF\n");
	fflush(stdout);
}

/* One of a kind: what it is (the file, if it matters much), and the verbs of the steps. */
static uint64_t kind_of(const struct result *result, const struct step *steps, int depth)
{
	unsigned long verbs = 0;
	char text[200];

	for (int i = 0; i < depth; i++)
		verbs |= 1UL << (steps[i].verb + 20 * steps[i].who);
	snprintf(text, sizeof(text), "%lx %.*s", verbs,
		 result->severe ? (int)strcspn(result->found, " ") : 0, result->found);
	return hash(hash(0, text), result->kind);
}

/* The steps that it takes: each is left out once. */
static int shortest(struct step *steps, int depth, const char *kind)
{
	for (int without = depth - 2; without >= 0; without--) {
		int same;
		pid_t child;

		memset(&shared->result[RESULTS - 1], 0, sizeof(struct result));
		fflush(stdout);
		child = fork();
		if (child == 0) {
			struct result *result = &shared->result[RESULTS - 1];

			begin();
			for (int i = 0; i < depth; i++)
				if (i != without && apply(&steps[i])) {
					restore();
					_exit(5);
				}
			result->step = steps[depth - 1];
			if (!look(result))
				effects(result);
			put_back(result);
			restore();
			_exit(0);
		}
		wait_for(child);
		same = !strcmp(shared->result[RESULTS - 1].kind, kind);
		if (same) {
			memmove(&steps[without], &steps[without + 1], (depth - without - 1) * sizeof(*steps));
			depth--;
		}
	}
	return depth;
}

void judge(const struct result *result, const struct step *steps, int depth)
{
	struct step fewer[DEEPEST];
	uint64_t kind = kind_of(result, steps, depth), fewest;
	int left;

	if (!*result->kind)
		return;
	for (int i = 0; i < known_parts; i++)
		if (strstr(result->found, known[i]))
			return;
	found++;
	if ((!result->severe && most_found <= 0) || !set_add(kinds, KINDS, kind))
		return;
	memcpy(fewer, steps, depth * sizeof(*steps));
	shared->ask_again = 1;
	left = shortest(fewer, depth, result->kind);
	shared->ask_again = 0;
	fewest = kind_of(result, fewer, left);
	if (fewest != kind && !set_add(kinds, KINDS, fewest))
		return;
	most_found--;
	print_found(result, fewer, left);
}
