/* A search for chains: which steps, in which order, give root of a container something of the host's.
 * See main.c for how it goes about it. */
#ifndef SEARCH_H
#define SEARCH_H

#include <stddef.h>
#include <stdint.h>

enum {
	PATH = 88,
	DEEPEST = 12,
	RENAMES = 8,
	MOUNTS = 192,
	ATOMS = 96,
	MOVES = 16384,
	RESULTS = 128,
	REFUSED = 1 << 18,
	SEEN = 1 << 17,
};

enum verb {
	MOUNT, BIND, MOVE, FLAGS, UMOUNT, UMOUNT_ALL, PIVOT, CHROOT, CHDIR, OWN, OVERLAY, RENAME,
	SYMLINK, USERNS, TREE, FSMOUNT, SETATTR,
};

/* who: 0, or 1 for the second process, which has a mount namespace of its own. */
struct step {
	unsigned char who, verb;
	uint32_t flags;
	char a[PATH], b[PATH];
};

struct mountpoint {
	char at[PATH], root[PATH], type[24], dev[16], super[160];
	int ro;
};

/* What a step led to. */
struct result {
	struct step step;
	uint64_t state, atoms[ATOMS];
	int count, severe;
	char kind[24], found[360];
};

/* Between the process that searches and those that try. */
struct shared {
	unsigned long tried, done, refused, known;
	int next, last, results, dirty, ask_again;
	/* What has another name now, by each of the two processes. */
	char names[2][RENAMES][2][PATH];
	int renames[2];
	struct result result[RESULTS];
	uint64_t refusal[REFUSED], worked[REFUSED], seen[SEEN];
	uint64_t initial[MOUNTS];
	int initials;
	struct mountpoint host, share;
	char super[160];
	unsigned long started;
	struct step wandered[DEEPEST];
	int wandered_depth;
};

extern struct shared *shared;

/* world.c */
uint64_t hash(uint64_t before, const char *text);
int set_add(uint64_t *set, int size, uint64_t value); /* 1: it is new */
int set_has(const uint64_t *set, int size, uint64_t value);
/* The mounts of this process (pid 0) or of another, as it sees them; -1 if that cannot be read. */
int mounts_of(int pid, struct mountpoint *mounts);
/* Of all of them; 0 if that cannot be read. */
uint64_t mounts_now(void);
/* Atoms of the state: what is not as in the beginning; and its hash. */
int look(struct result *result);
/* Before the first step, in the process that tries. */
void open_world(void);
extern int proc_folder, root_folder;
extern struct mountpoint now[MOUNTS];
extern int now_count;
/* What decides whether a step means the same as elsewhere: the root, names, what was taken off. */
uint64_t context(void);
int is_initial(const struct mountpoint *mount);

/* moves.c */
int moves(struct step *step, int most);
extern const char *const regions[];
void make_world(void);

/* steps.c */
int apply(const struct step *step);
/* A step of which nothing is left after this; 0 if it cannot be taken back so. */
int undo(const struct step *step);
int second_process(void); /* its pid, 0: there is none */
uint64_t past(void);	  /* hash of what the mounts do not show: names, root, folder */
uint64_t root_name(void);
/* Where the root is that a chroot chose, as AppArmor sees it: it goes by the namespace's root. */
const char *root_place(void);
int has_folder(void);	  /* whether the working folder was chosen by a step */
void restore(void);
/* By a process that was in none of the states: what could not be restored there. */
void clean(void);
void say_step(const struct step *step, char *text, int size);
void shell_step(const struct step *step, char *text, int size);

/* effects.c */
void find_files(void);
void know_host(void);
/* What the state gives away of the host's: into result; kind is empty if nothing. */
void effects(struct result *result);

/* tries.c: begin() makes the mount namespace; the next two end the process. */
void begin(void);
/* The state, and each step from shared->next on until one that cannot be taken back. */
void try_from(const struct step *steps, int depth, int every, unsigned seed, unsigned long until);
/* Random steps, as deep as there is room for. */
void wander(unsigned seed);
void put_back(const struct result *result);
void wait_for(int child);

/* report.c */
extern int found, most_found, known_parts;
extern const char *known[16];
void judge(const struct result *result, const struct step *steps, int depth);

#endif
