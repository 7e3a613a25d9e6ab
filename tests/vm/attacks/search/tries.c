/* What runs in a process and a mount namespace of its own: one state, and what is tried in it. */
#define _GNU_SOURCE
#include "search.h"

#include <errno.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);

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

void begin(void)
{
	alarm(60);
	if (unshare(CLONE_NEWNS))
		_exit(4);
	/* As LXC has them, but with no others outside. */
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL);
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
void put_back(const struct result *result)
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
void try_from(const struct step *steps, int depth, int every, unsigned seed, unsigned long until)
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

void wait_for(int child)
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

/* Random steps, as deep as there is room for; nothing that was refused is believed. */
void wander(unsigned seed)
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
