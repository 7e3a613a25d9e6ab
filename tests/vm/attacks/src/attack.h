/* What root in a container tries, one row a trick. See main.c for how rows run. */
#ifndef ATTACK_H
#define ATTACK_H

#define RECURSIVE_PRIVATE 0x44000UL /* MS_REC | MS_PRIVATE */

enum verdict { STOPPED, HARM, NOT_HERE };

struct result {
	enum verdict verdict;
	char detail[160];
};

struct row;
/* A way to reach a kernel file system: a descriptor of its root, or -1 with errno. */
typedef int way_fn(const struct row *row);
/* What is done with it; fills in the result. */
typedef void deed_fn(const struct row *row, int root, struct result *result);

struct row {
	const char *name;
	way_fn *way;       /* NULL: the deed needs none */
	const char *what;  /* file system type or source path, for the way */
	const char *where; /* target of a mount, for the way */
	deed_fn *deed;
	const char *path; /* file, relative to the way's root */
	const char *value;
};

/* settings: only when they are named, for they need a setting of the host's. */
extern const struct row rows[], chains[], settings[];

/* result.c */
void harm(struct result *result, const char *format, ...);
void stopped(struct result *result, const char *format, ...);
void not_here(struct result *result, const char *format, ...);
/* The verdict that an errno stands for: refused, or not offered by this kernel. */
void failed(struct result *result, const char *doing, int error);
int read_text(int root, const char *path, char *text, int size);
void make_target(const char *path);
int own_user_namespace(void);

/* steps.c: one step of a chain, 0 or -1 with errno. The words:
 *	mount TYPE TARGET [FLAGS [DATA]]   bind FROM TO   rbind FROM TO   move FROM TO
 *	flags FLAGS TARGET [DATA] (remounts and propagation)   umount TARGET (lazily)
 *	pivot NEW OLD   chroot FOLDER   chdir FOLDER   keep PATH   tokept   unshare
 *	mkdir PATH   file PATH   rename FROM TO   symlink TO PATH
 * "2:" before a step: in a second process with a mount namespace of its own. "?" before a verb: as
 * often as it succeeds, and never an error. */
int step(const char *text);
/* Steps with ";" between them; at: the last one that was tried. */
int steps(const char *script, char *at, int size);
/* What was renamed gets its name back; the second process ends. */
void steps_undo(void);
way_fn by_steps, by_steps_kept;

/* ways.c: old mounts, new mounts, and roundabout paths */
way_fn at_place, at_path, by_mount, by_mount_named, by_mount_over, by_remount, by_umount, by_umount_mount;
way_fn by_bind, by_rbind, by_move, by_fsmount, by_fsmount_32bit, by_fsmount_moved, by_fsmount_bound;
way_fn by_opentree, by_opentree_moved, by_lazy_umount, by_overlay;
way_fn by_dead_namespace;
way_fn by_pivot, by_pivot_bound, by_chroot, by_symlink, by_userns, by_mkdir_rename, by_setattr;

/* races.c */
way_fn by_bind_race;

/* deeds.c: what is done to a file */
deed_fn change, change_last, trigger, nonsense, same, leak, visible, make_dir, make_file, rename_node, bind_format;
deed_fn same_mode, map_device;
deed_fn by_uring, by_reopen, by_race, by_hardlink, host_option;

/* escapes.c: what needs no file system */
deed_fn change_profile, exec_profile, load_policy, make_namespace, agent_option;
deed_fn read_disk, read_mem, handle, module_load, module_unload, kexec, set_clock;
deed_fn raw_io, other_cgroup;
int probe(void);

/* calls.c: single system calls */
deed_fn kernel_addresses, perf_kernel, bpf_load;
deed_fn bpf_trace, bpf_read, bpf_read_device, perf, swap, kernel_log, watch_files, watch_mount;
deed_fn host_keys, host_request_key, quota, vsock, console;

/* deputies.c: what the kernel does for root inside without asking a security module */
deed_fn host_label, host_shutdown, host_mounts, host_namespace, nfs_server, crypto, memory_map;
deed_fn take_console, break_memory, block_device, key_list;

#endif
