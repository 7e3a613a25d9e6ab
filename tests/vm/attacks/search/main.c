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
 * What has a PART in its text is no news. What else is found is printed as a script of sh; the last line says how many steps were tried.
 */
#define _GNU_SOURCE
#include "search.h"

#include <errno.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);

/* SLICE: of steps tried before another state has its turn. */
enum { SLICE = 150, NODES = 1 << 18, QUEUE = 4 * NODES, STATES = 1 << 20, PAIRS = 1 << 24, KINDS = 4096 };

static struct node {
	int before, depth, next;
	struct step step;
} *nodes;
/* States to go on from: with something new, with a new pair, others; and, once more, all that were
 * the first to have something new, then with every step. */
enum { NEW, PAIR, OTHER, AGAIN, QUEUES };
static int *queue[QUEUES], first[QUEUES], last[QUEUES];
static int node_count, found;
static uint64_t *states, *atoms_known, kinds[KINDS];
static unsigned char *pairs;
static unsigned long most_steps = 100000, unique, expanded;
static int deepest = 5, most_found = 40, known_parts;
static const char *known[16];

static int path_of(int node, struct step *steps)
{
	int depth = nodes[node].depth;

	for (int at = depth; at > 0; at--, node = nodes[node].before)
		steps[at - 1] = nodes[node].step;
	return depth;
}

static int worth_keeping(int error)
{
	return error == EACCES || error == ENOSYS;
}

static uint64_t question(const struct step *step, uint64_t remembered)
{
	char text[256];

	say_step(step, text, sizeof(text));
	return hash(remembered, text);
}

static void begin(void)
{
	alarm(60);
	if (unshare(CLONE_NEWNS))
		_exit(4);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	open_world();
}

/* all: also what has worked in a state with the same root and names. */
static int attempt(const struct step *step, int remember, int all)
{
	uint64_t asked = question(step, root_name()), here = question(step, context());
	struct step plain = *step;
	int failed;

	plain.flags &= MS_REC;
	if (remember && step->verb == BIND && step->flags & ~MS_REC &&
	    set_has(shared->worked, REFUSED, question(&plain, context())))
		return -1;
	if (remember && !all && set_has(shared->worked, REFUSED, here))
		return -1;

	if (remember && set_has(shared->refusal, REFUSED, asked)) {
		shared->known++;
		errno = EALREADY;
		return -1;
	}
	shared->tried++;
	failed = apply(step);
	if (!failed) {
		shared->done++;
		if (remember)
			set_add(shared->worked, REFUSED, here);
		return 0;
	}
	if (worth_keeping(errno) || errno == EPERM)
		shared->refused++;
	if (remember && worth_keeping(errno))
		set_add(shared->refusal, REFUSED, asked);
	return -1;
}

/* A superblock of the host's gets its options back. */
static void put_back(const struct result *result)
{
	if (!strcmp(result->kind, "superblock"))
		mount(NULL, result->step.b, NULL, MS_REMOUNT, "errors=continue");
}

/* The same order whenever the state is gone on with, and not the same kind of steps together. */
static void shuffle(struct step *steps, int count, unsigned seed)
{
	for (int i = count - 1; i > 0; i--) {
		int other = rand_r(&seed) % (i + 1);
		struct step step = steps[i];

		steps[i] = steps[other];
		steps[other] = step;
	}
}

/* In a process of its own: the state, and each step from shared->next on until one that cannot be
 * taken back. */
static void try_from(const struct step *steps, int depth, int every, unsigned seed, unsigned long until)
{
	static struct step all[MOVES];
	struct result start = {.count = 0};
	uint64_t mounts;
	int count;

	begin();
	for (int i = 0; i < depth; i++)
		if (apply(&steps[i])) {
			shared->next = shared->last = 0;
			restore();
			_exit(5);
		}
	if (look(&start)) {
		restore();
		_exit(6);
	}
	mounts = mounts_now();
	count = moves(all, MOVES);
	shared->last = count;
	shuffle(all, count, seed);
	while (shared->next < count && shared->results < RESULTS - 1 && shared->tried < until) {
		const struct step *step = &all[shared->next++];
		struct result *result = &shared->result[shared->results];

		if (attempt(step, 1, every))
			continue;
		memset(result, 0, sizeof(*result));
		result->step = *step;
		if (!look(result)) {
			effects(result);
			put_back(result);
			shared->results++;
		}
		if (!undo(step) || mounts_now() != mounts)
			break;
	}
	restore();
	_exit(0);
}

static void wait_for(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	if (!shared->dirty && !shared->renames[0] && !shared->renames[1])
		return;
	child = fork();
	if (child == 0) {
		begin();
		clean();
		_exit(0);
	}
	waitpid(child, NULL, 0);
	if (shared->renames[0] || shared->renames[1]) {
		printf("# NOT CLEAN: a folder has another name now: %s\n",
		       shared->names[!shared->renames[0]][0][0]);
		exit(3);
	}
	shared->dirty = 0;
}

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

/* One of a kind: what it is, and the verbs of the steps. */
static uint64_t kind_of(const struct result *result, const struct step *steps, int depth)
{
	unsigned long verbs = 0;
	char text[64];

	for (int i = 0; i < depth; i++)
		verbs |= 1UL << (steps[i].verb + 20 * steps[i].who);
	snprintf(text, sizeof(text), "%lx %d", verbs, result->severe);
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

static void judge(const struct result *result, const struct step *steps, int depth)
{
	if (!*result->kind)
		return;
	for (int i = 0; i < known_parts; i++)
		if (strstr(result->found, known[i]))
			return;
	found++;
	if (most_found > 0) {
		struct step fewer[DEEPEST];
		uint64_t kind = kind_of(result, steps, depth), fewest;
		int left;

		memcpy(fewer, steps, depth * sizeof(*steps));
		if (set_add(kinds, KINDS, kind)) {
			shared->ask_again = 1;
			left = shortest(fewer, depth, result->kind);
			shared->ask_again = 0;
			fewest = kind_of(result, fewer, left);
			if (fewest != kind && !set_add(kinds, KINDS, fewest))
				return;
			most_found--;
			print_found(result, fewer, left);
		}
	}
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

/* Random steps, as deep as there is room for; nothing that was refused is believed. */
static void wander(unsigned seed)
{
	static struct step all[MOVES];
	struct step steps[DEEPEST];
	int depth = 0;

	begin();
	srand(seed);
	for (int tries = 0; depth < DEEPEST - 2 && tries < 4000;) {
		struct result *result = &shared->result[0];
		int count;

		memset(result, 0, sizeof(*result));
		if (look(result))
			break;
		count = moves(all, MOVES);
		for (; tries < 4000; tries++) {
			const struct step *step = &all[rand() % count];

			if (attempt(step, 0, 1))
				continue;
			steps[depth++] = result->step = *step;
			break;
		}
		memset(result, 0, sizeof(*result));
		result->step = steps[depth ? depth - 1 : 0];
		if (look(result))
			break;
		effects(result);
		if (*result->kind) {
			put_back(result);
			memcpy(shared->wandered, steps, sizeof(steps));
			shared->wandered_depth = depth;
			shared->results = 1;
			break;
		}
	}
	restore();
	_exit(0);
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
