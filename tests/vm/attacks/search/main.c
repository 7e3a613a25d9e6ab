/*
 * Searches for a chain of steps with which root of a container gets at something of the host's.
 *
 *     search [--steps N] [--depth N] [--random SEED] [--most N] [--known PART]...
 *
 * Every state is a mount namespace of its own, made by the steps that lead to it, and every step
 * that is possible there is tried, by system calls alone. After each one that worked the state is
 * asked what it gives away (effects.c). Equal states (the same mounts, names, root and folder) are
 * visited once; states that have something new (a mount as none before had it) go first, then those
 * with a new pair, then the others: within each the shorter ones first. A step that AppArmor has
 * refused is not asked again while the root is the same, for it goes by paths.
 *
 * What has a PART in its text is no news. What else is found is printed as a script of sh; the last
 * line says how many steps were tried.
 */
#define _GNU_SOURCE
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* SLICE: of steps tried before another state has its turn. */
enum { SLICE = 150, NODES = 1 << 18, QUEUE = 4 * NODES, STATES = 1 << 20, PAIRS = 1 << 24 };

static struct node {
	int before, depth, next;
	struct step step;
} *nodes;
/* States to go on from: with something new, with a new pair, others; and, once more, all that were
 * the first to have something new, then with every step. */
enum { NEW, PAIR, OTHER, AGAIN, QUEUES };
static int *queue[QUEUES], first[QUEUES], last[QUEUES];
static int node_count;
static uint64_t *states, *atoms_known;
static unsigned char *pairs;
static unsigned long most_steps = 100000, unique, expanded;
static int deepest = 5;

static int path_of(int node, struct step *steps)
{
	int depth = nodes[node].depth;

	for (int at = depth; at > 0; at--, node = nodes[node].before)
		steps[at - 1] = nodes[node].step;
	return depth;
}

static int novelty(const struct result *result)
{
	int new_atom = 0, new_pair = 0;

	for (int i = 0; i < result->count; i++)
		new_atom |= set_add(atoms_known, STATES, result->atoms[i]);
	for (int i = 0; i < result->count; i++)
		for (int j = 0; j < i; j++) {
			uint64_t low = result->atoms[i] < result->atoms[j] ? result->atoms[i] : result->atoms[j];
			uint64_t pair = (result->atoms[i] ^ result->atoms[j]) * 0x9e3779b97f4a7c15ULL + low;
			unsigned at = (pair >> 20) & (PAIRS - 1);

			new_pair |= !(pairs[at / 8] & (1 << (at % 8)));
			pairs[at / 8] |= 1 << (at % 8);
		}
	return new_atom ? NEW : new_pair ? PAIR : OTHER;
}

static void put_last(int which, int node)
{
	if (last[which] < QUEUE)
		queue[which][last[which]++] = node;
}

static void keep(int before, const struct result *result)
{
	int which, depth = nodes[before].depth + 1;

	if (!set_add(states, STATES, result->state))
		return;
	unique++;
	which = novelty(result);
	if (depth >= deepest || node_count == NODES || (*result->kind && result->severe))
		return;
	nodes[node_count] = (struct node){before, depth, 0, result->step};
	put_last(which, node_count++);
}

/* 1: all steps of the state were tried. */
static int expand(int node, int every)
{
	unsigned long until = shared->tried + SLICE;
	struct step steps[DEEPEST];
	int depth = path_of(node, steps);

	shared->next = nodes[node].next;
	do {
		pid_t child;
		int before = shared->next;

		shared->results = 0;
		shared->last = 0;
		child = fork();
		if (child == 0)
			try_from(steps, depth, every, node, until);
		wait_for(child);
		for (int i = 0, count = shared->results; i < count; i++) {
			steps[depth] = shared->result[i].step;
			judge(&shared->result[i], steps, depth + 1);
			keep(node, &shared->result[i]);
		}
		if (shared->next <= before)
			return 1; /* the child could not get there */
	} while (shared->next < shared->last && shared->tried < until);
	nodes[node].next = shared->next;
	return shared->next >= shared->last;
}

static double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void *memory(size_t size)
{
	void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (place == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return place;
}

static void prepare(void)
{
	shared = memory(sizeof(*shared));
	nodes = calloc(NODES, sizeof(*nodes));
	for (int i = 0; i < QUEUES; i++)
		queue[i] = calloc(QUEUE, sizeof(int));
	states = calloc(STATES, sizeof(*states));
	atoms_known = calloc(STATES, sizeof(*atoms_known));
	pairs = calloc(PAIRS / 8, 1);
	make_world();
	find_files();
}

/* The first state, by a process that then ends. */
static void beginning(void)
{
	static struct step none[1];
	pid_t child = fork();

	if (child == 0) {
		struct result start;

		begin();
		memset(&start, 0, sizeof(start));
		look(&start);
		know_host();
		for (int i = 0; i < start.count; i++)
			shared->initial[shared->initials++] = start.atoms[i];
		memset(&shared->result[0], 0, sizeof(shared->result[0]));
		effects(&shared->result[0]);
		_exit(0);
	}
	wait_for(child);
	judge(&shared->result[0], none, 0);
}

/* Half of the turns are those states' that have something new, half of these by chance (else the
 * deep ones would have to wait for all others); the rest go to the others, while there are any. */
static int turn(unsigned number)
{
	static const int order[4][QUEUES] = {{NEW, PAIR, OTHER, AGAIN},
					     {PAIR, AGAIN, NEW, OTHER},
					     {NEW, PAIR, OTHER, AGAIN},
					     {AGAIN, OTHER, NEW, PAIR}};

	for (int i = 0; i < QUEUES; i++) {
		int which = order[number % 4][i];

		if (first[which] < last[which])
			return which;
	}
	return -1;
}

static void breadth_first(void)
{
	int which;

	node_count = 1;
	put_last(NEW, 0);
	for (unsigned number = 0; shared->tried < most_steps && (which = turn(number)) >= 0; number++) {
		int *next = &queue[which][first[which]++], node;

		if (number % 4 == 2) {
			int *chosen = next + rand() % (last[which] - first[which] + 1);

			node = *chosen;
			*chosen = *next;
			*next = node;
		}
		node = *next;
		expanded++;
		if (!expand(node, which == AGAIN)) {
			put_last(which, node);
		} else if (which == NEW) {
			nodes[node].next = 0;
			put_last(AGAIN, node);
		}
	}
}

int main(int argc, char **argv)
{
	double began = seconds();
	unsigned seed = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		unsigned long value = strtoul(argv[i + 1], NULL, 0);

		if (!strcmp(argv[i], "--steps"))
			most_steps = value;
		else if (!strcmp(argv[i], "--depth"))
			deepest = value < DEEPEST ? value : DEEPEST - 1;
		else if (!strcmp(argv[i], "--random"))
			seed = value;
		else if (!strcmp(argv[i], "--most"))
			most_found = value;
		else if (!strcmp(argv[i], "--known") && known_parts < 16)
			known[known_parts++] = argv[i + 1];
	}
	prepare();
	beginning();
	if (seed) {
		while (shared->tried < most_steps) {
			pid_t child;

			shared->results = 0;
			fflush(stdout);
			child = fork();
			if (child == 0)
				wander(seed);
			wait_for(child);
			if (shared->results) {
				struct result result = shared->result[0];

				judge(&result, shared->wandered, shared->wandered_depth);
			}
			unique++;
			seed++;
		}
	} else {
		breadth_first();
	}
	printf("# tried %lu, worked %lu, refused %lu, refused before %lu, states %lu, found %d, "
	       "from %lu, left %d %d %d %d, %.0f s\n",
	       shared->tried, shared->done, shared->refused, shared->known, unique, found,
	       expanded, last[NEW] - first[NEW], last[PAIR] - first[PAIR], last[OTHER] - first[OTHER],
	       last[AGAIN] - first[AGAIN], seconds() - began);
	return 0;
}
