/* The calls of NVIDIA's container tools, on dummy files: see main.c. */
#pragma once

#include <sys/types.h>

/* What a runtime tells a hook about the container that it makes. */
struct container {
	pid_t pid;
	char root[4096];
};

/* Prints the call that failed and its errno, and ends with 1. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* mount(2), or fail(). */
void do_mount(const char *source, const char *target, const char *type, unsigned long flags,
	      const char *data);

/* The path of a file below the container's root, in one of a few static buffers. */
const char *below(const struct container *container, const char *path);

/* Makes a file (an empty one, with this text, or a folder) and what is above it. */
void make_file(const char *path, const char *text);
void make_folder(const char *path);

/* The text of a file, NUL at its end; static buffer. */
const char *text_of(const char *path);

/* As the runtime says it on stdin, and in the bundle's config.json. */
struct container told(void);

/* Where /proc/driver/nvidia is missing (no driver on this machine) it is made, in a tmpfs. */
void need_driver_folder(const char *driver);

/* Waits for a child that is to end well. */
void wait_for(pid_t child, const char *name);

void device_cgroup(const struct container *container);
void legacy(const struct container *container, const char *ldconfig);
void update_ldcache(const struct container *container, const char *ldconfig, int old);
void create_symlinks(const struct container *container);
void no_device_nodes(const struct container *container);
