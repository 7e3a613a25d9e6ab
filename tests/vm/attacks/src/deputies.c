/* What the kernel does for root inside without asking a security module: ioctls on a file system of
 * the host's of which a folder is shared, its list of mounts, its NFS server, its algorithms. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LISTMOUNT 458
/* _IOR('X', 125, __u32): FS_IOC_SHUTDOWN of Linux 6.17, and long before of ext4 and XFS */
#define SHUTDOWN _IOR('X', 125, uint32_t)
#define NO_SUCH_WAY 99
#define NBD_CONNECT 1
#define SOFT_OFFLINE 101 /* MADV_SOFT_OFFLINE */
#define PREVIOUS_NAMESPACE _IOR(0xb7, 12, uint64_t[2]) /* NS_MNT_GET_PREV */
#define NEXT_NAMESPACE _IOR(0xb7, 11, uint64_t[2])     /* NS_MNT_GET_NEXT */
#define NETLINK_OF_CRYPTO 21
#define UPDATE_ALGORITHM 0x12 /* CRYPTO_MSG_UPDATEALG */

/* The label that it has already. */
void host_label(const struct row *row, int root, struct result *result)
{
	char label[FSLABEL_MAX] = "";
	int fd = open(row->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (ioctl(fd, FS_IOC_GETFSLABEL, label))
		failed(result, "get the label", errno);
	else if (ioctl(fd, FS_IOC_SETFSLABEL, label))
		failed(result, "set the label", errno);
	else
		harm(result, "the host's superblock takes a label from us");
	close(fd);
	(void)root;
}

/* In a way that there is not: who may not do it at all gets another answer. */
void host_shutdown(const struct row *row, int root, struct result *result)
{
	uint32_t way = NO_SUCH_WAY;
	int fd = open(row->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (ioctl(fd, SHUTDOWN, &way) && errno != EINVAL)
		failed(result, "shutdown", errno);
	else
		harm(result, "the host's file system would be shut down");
	close(fd);
	(void)root;
}

/* Namespaces have small numbers; those of a host that has just started are its own. */
void host_mounts(const struct row *row, int root, struct result *result)
{
	struct {
		uint32_t size, spare;
		uint64_t mount, last, namespace;
	} request = {.size = sizeof(request), .mount = ~0ULL};
	uint64_t mounts[8];

	for (request.namespace = 1; request.namespace < 8; request.namespace ++)
		if (syscall(LISTMOUNT, &request, mounts, 8, 0) > 0) {
			harm(result, "mounts of the host's namespace %d", (int)request.namespace);
			return;
		}
	failed(result, "listmount", errno == ENOENT ? EACCES : errno);
	(void)row;
	(void)root;
}

/* A handle of another mount namespace than ours, which setns(2) takes. */
void host_namespace(const struct row *row, int root, struct result *result)
{
	uint64_t info[2] = {sizeof(info), 0};
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int other = ioctl(own, PREVIOUS_NAMESPACE, info);

	if (other < 0)
		other = ioctl(own, NEXT_NAMESPACE, info);
	if (other < 0)
		failed(result, "ioctl", errno == ENOTTY ? EOPNOTSUPP : errno);
	else if (own_user_namespace())
		stopped(result, "only the container's own namespaces");
	else
		harm(result, "another mount namespace is open");
	close(other);
	close(own);
	(void)row;
	(void)root;
}

/* What is written to the host's console goes to a terminal of ours, until that is closed. */
void take_console(const struct row *row, int root, struct result *result)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int slave = -1;

	if (master >= 0 && !grantpt(master) && !unlockpt(master))
		slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		failed(result, "open a terminal", errno);
	else if (ioctl(slave, TIOCCONS))
		failed(result, "TIOCCONS", errno);
	else
		harm(result, "what the host's console is told comes to us");
	close(slave);
	close(master);
	(void)row;
	(void)root;
}

/* A page that the machine does not use again before it restarts. */
void break_memory(const struct row *row, int root, struct result *result)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED) {
		failed(result, "mmap", errno);
		return;
	}
	page[0] = 1;
	if (madvise(page, 4096, SOFT_OFFLINE))
		failed(result, "madvise", errno);
	else
		harm(result, "a page of the host's memory is out of use");
	munmap(page, 4096);
	(void)row;
	(void)root;
}

/* Who says what may be exported and to whom is obeyed, for any file of a file system that root has a
 * folder of. (A mount of rpc_pipefs has loaded what has these files.) */
void nfs_server(const struct row *row, int root, struct result *result)
{
	int fd = open(row->path, O_WRONLY | O_CLOEXEC);

	if (own_user_namespace())
		not_here(result, "no server for the namespace of a user");
	else if (fd < 0)
		failed(result, "open", errno);
	else if (write(fd, row->value, strlen(row->value)) < 0)
		failed(result, "write", errno);
	else
		harm(result, "the kernel's NFS server knows a client of ours");
	close(fd);
	(void)root;
}

/* The first algorithm that the kernel has, with the priority that it has. */
static int first_algorithm(char *name, char *driver, uint32_t *priority)
{
	FILE *list = fopen("/proc/crypto", "re");
	char line[256];
	int seen = 0;

	while (list && seen < 3 && fgets(line, sizeof(line), list))
		seen += sscanf(line, "name : %63s", name) == 1 ||
			sscanf(line, "driver : %63s", driver) == 1 ||
			sscanf(line, "priority : %u", priority) == 1;
	if (list)
		fclose(list);
	return seen == 3 ? 0 : -1;
}

void crypto(const struct row *row, int root, struct result *result)
{
	struct {
		struct nlmsghdr head;
		char name[64], driver[64], module[64];
		uint32_t type, mask, references, flags;
		struct nlattr attribute;
		uint32_t priority;
	} change = {
		.head = {sizeof(change), UPDATE_ALGORITHM, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.attribute = {8, 1},
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_OF_CRYPTO);

	if (fd < 0)
		failed(result, "socket", errno);
	else if (first_algorithm(change.name, change.driver, &change.priority))
		not_here(result, "no algorithms");
	else if (send(fd, &change, sizeof(change), 0) < 0 ||
		 recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer.head) + 4)
		failed(result, "netlink", errno);
	else if (answer.error.error)
		failed(result, "change", -answer.error.error);
	else
		harm(result, "the host's %s gets the priority that we say", change.driver);
	close(fd);
	(void)row;
	(void)root;
}

struct message {
	struct nlmsghdr head;
	struct genlmsghdr generic;
	struct nlattr attribute;
	char text[8];
};

/* Says it and reads the answer: 0, or an error of the kernel's; its family goes to *family. */
static int tell(int fd, struct message *message, uint16_t *family)
{
	char answer[4096];
	struct nlmsghdr *head = (void *)answer;
	struct nlattr *attribute = (void *)(answer + NLMSG_HDRLEN + GENL_HDRLEN);
	ssize_t left;

	if (send(fd, message, message->head.nlmsg_len, 0) < 0)
		return -errno;
	left = recv(fd, answer, sizeof(answer), 0);
	if (left < 0)
		return -errno;
	if (head->nlmsg_type == NLMSG_ERROR)
		return *(int *)NLMSG_DATA(head);
	for (left -= NLMSG_HDRLEN + GENL_HDRLEN; left > NLA_HDRLEN && attribute->nla_len >= NLA_HDRLEN;) {
		if (attribute->nla_type == CTRL_ATTR_FAMILY_ID)
			*family = *(uint16_t *)(attribute + 1);
		left -= NLA_ALIGN(attribute->nla_len);
		attribute = (void *)((char *)attribute + NLA_ALIGN(attribute->nla_len));
	}
	return 0;
}

/* A disk of the host's that root here is the server of; without the server: EINVAL, if it may. */
void block_device(const struct row *row, int root, struct result *result)
{
	struct message ask = {
		.head = {sizeof(ask), GENL_ID_CTRL, NLM_F_REQUEST, 1, 0},
		.generic = {CTRL_CMD_GETFAMILY, 1, 0},
		.attribute = {NLA_HDRLEN + 4, CTRL_ATTR_FAMILY_NAME},
		.text = "nbd",
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	uint16_t family = 0;
	int error;

	ask.head.nlmsg_len -= 4;
	error = tell(fd, &ask, &family);
	if (error || !family) {
		failed(result, "family", error ? -error : ENOENT);
		close(fd);
		return;
	}
	ask.head.nlmsg_type = family;
	ask.head.nlmsg_flags |= NLM_F_ACK;
	ask.head.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN;
	ask.generic.cmd = NBD_CONNECT;
	error = tell(fd, &ask, &family);
	if (error && error != -EINVAL)
		failed(result, "connect", -error);
	else
		harm(result, "the host takes a disk from us");
	close(fd);
	(void)row;
	(void)root;
}

/* Which keys the host's root has. */
void key_list(const struct row *row, int root, struct result *result)
{
	char text[256];

	if (own_user_namespace())
		stopped(result, "keys of the container's own");
	else if (read_text(AT_FDCWD, row->path, text, sizeof(text)) <= 0)
		failed(result, "read", errno);
	else
		harm(result, "keys of the host's root: %.40s", text);
	(void)root;
}

/* Where the kernel's code is in the machine's memory. */
void memory_map(const struct row *row, int root, struct result *result)
{
	char line[256];
	unsigned long start;
	FILE *map = fopen(row->path, "re");

	if (!map) {
		failed(result, "open", errno);
		return;
	}
	stopped(result, "all addresses are 0");
	while (fgets(line, sizeof(line), map))
		if (strstr(line, "Kernel code") && sscanf(line, "%lx", &start) == 1 && start)
			harm(result, "the kernel's code is at %lx", start);
	fclose(map);
	(void)root;
}
