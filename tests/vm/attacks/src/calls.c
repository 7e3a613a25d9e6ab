/* Tricks that are one system call, about which AppArmor is asked nothing or too little. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/quota.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void kernel_log(const struct row *row, int root, struct result *result)
{
	static char text[8192]; /* a line that does not fit is left out */
	int length = klogctl(3, text, sizeof(text));

	if (length <= 0)
		failed(result, "syslog", errno);
	else
		harm(result, "read %d bytes of the host's kernel log", length);
	(void)row;
	(void)root;
}

/* Where the kernel's code is, which attacks on it need to know. */
void kernel_addresses(const struct row *row, int root, struct result *result)
{
	char line[256];
	FILE *file = fopen(row->path, "r");

	if (!file) {
		failed(result, "open", errno);
		return;
	}
	/* What each processor has of its own comes first, and has small ones. */
	stopped(result, "all addresses are 0");
	for (int i = 0; i < 3000 && fgets(line, sizeof(line), file); i++)
		if (!strncmp(line, "ffff", 4)) {
			harm(result, "the kernel's addresses: %.16s", line);
			break;
		}
	fclose(file);
	(void)root;
}

/* Of this process only, but with what the kernel does in it. */
void perf_kernel(const struct row *row, int root, struct result *result)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 1000000,
		.sample_type = PERF_SAMPLE_IP,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd < 0)
		failed(result, "perf_event_open", errno);
	else
		harm(result, "samples the host's kernel");
	close(fd);
	(void)row;
	(void)root;
}

/* The least program: what a user without any capability may load at some settings. */
void bpf_load(const struct row *row, int root, struct result *result)
{
	struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (unsigned long)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (unsigned long)"GPL",
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));

	if (fd < 0)
		failed(result, "bpf", errno);
	else
		harm(result, "a program of ours is in the host's kernel");
	close(fd);
	(void)row;
	(void)root;
}

const struct row settings[] = {{"bpf-load", NULL, 0, 0, bpf_load, 0, 0}, {0}};

/* A program that the host's kernel runs at every system call of every process: the least such. */
void bpf_trace(const struct row *row, int root, struct result *result)
{
	struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
		.insns = (unsigned long)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (unsigned long)"GPL",
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	union bpf_attr attach = {
		.raw_tracepoint = {.name = (unsigned long)"sys_enter", .prog_fd = fd},
	};
	int attached;

	if (fd < 0) {
		failed(result, "bpf", errno);
		return;
	}
	attached = syscall(SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &attach, sizeof(attach));
	if (attached < 0)
		failed(result, "attach a program", errno);
	else
		harm(result, "the host's kernel ran our program at each system call");
	close(attached);
	close(fd);
	(void)row;
	(void)root;
}

/* What runs on the host's first processor, whoever's it is. */
void perf(const struct row *row, int root, struct result *result)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 1000000,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_STACK_USER,
		.sample_stack_user = 4096,
	};
	int fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);

	if (fd < 0)
		failed(result, "perf_event_open", errno);
	else
		harm(result, "samples the stacks of all processes of the host");
	close(fd);
	(void)row;
	(void)root;
}

/* A swap file, in the folder that the host shares: the host's memory goes where root here reads. */
void swap(const struct row *row, int root, struct result *result)
{
	static char page[4096];
	int pages = 16;
	int fd = open(row->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct {
		unsigned version, last_page;
	} head = {1, pages - 1};

	if (fd < 0) {
		failed(result, "create a swap file", errno);
		return;
	}
	memcpy(page + 1024, &head, sizeof(head));
	memcpy(page + sizeof(page) - 10, "SWAPSPACE2", 10);
	/* Linux swaps into no file with holes. */
	if (write(fd, page, sizeof(page)) != sizeof(page) ||
	    posix_fallocate(fd, 0, pages * sizeof(page)) || fsync(fd))
		failed(result, "write a swap file", errno);
	else if (swapon(row->path, 0))
		failed(result, "swapon", errno);
	else
		harm(result, "the host swaps into a file of ours");
	swapoff(row->path);
	unlink(row->path);
	close(fd);
	(void)root;
}

/* A byte of the kernel's memory becomes what a program returns; the kernel lets root read so. */
static int load_reader(int type)
{
	struct bpf_insn program[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_current_task},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_3, .src_reg = BPF_REG_0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = -8},
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 1},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel},
		{.code = BPF_LDX | BPF_MEM | BPF_B, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {
		.prog_type = type,
		.insns = (unsigned long)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (unsigned long)"GPL",
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
}

static void read_by(int type, struct result *result)
{
	int fd = load_reader(type);

	if (fd < 0 && errno == EINVAL)
		stopped(result, "not for such programs");
	else if (fd < 0)
		failed(result, "bpf", errno);
	else
		harm(result, "a program that reads the kernel's memory is loaded");
	close(fd);
}

void bpf_read(const struct row *row, int root, struct result *result)
{
	read_by(BPF_PROG_TYPE_SOCKET_FILTER, result);
	(void)row;
	(void)root;
}

/* The kind that decides on devices, which Docker loads. */
void bpf_read_device(const struct row *row, int root, struct result *result)
{
	read_by(BPF_PROG_TYPE_CGROUP_DEVICE, result);
	(void)row;
	(void)root;
}

/* Every open of a file of the host's is asked of us first, with the file open for reading and
 * writing. */
static void watch(const struct row *row, int kind, struct result *result)
{
	int fd = syscall(SYS_fanotify_init, FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, O_RDWR);

	if (fd < 0)
		failed(result, "fanotify_init", errno);
	else if (fanotify_mark(fd, FAN_MARK_ADD | kind, FAN_OPEN_PERM, AT_FDCWD, row->path))
		failed(result, "fanotify_mark", errno);
	else
		harm(result, "decides on every open of the host's files");
	close(fd);
}

void watch_files(const struct row *row, int root, struct result *result)
{
	watch(row, FAN_MARK_FILESYSTEM, result);
	(void)root;
}

void watch_mount(const struct row *row, int root, struct result *result)
{
	watch(row, FAN_MARK_MOUNT, result);
	(void)root;
}

/* The keys of user 0: without a user namespace those of the host's root. */
void host_keys(const struct row *row, int root, struct result *result)
{
	long key = syscall(SYS_add_key, "user", "attack", "x", 1, KEY_SPEC_USER_KEYRING);

	if (key < 0)
		failed(result, "add_key", errno);
	else if (own_user_namespace())
		not_here(result, "keys of the container's own");
	else
		harm(result, "a key for the host's root");
	syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING);
	(void)row;
	(void)root;
}

/* The kernel runs /sbin/request-key of the host, as its root. */
void host_request_key(const struct row *row, int root, struct result *result)
{
	long key = syscall(SYS_request_key, "user", "attack-none", "x", 0);

	/* ENOENT: the host has no such program. */
	if (key < 0 && errno != ENOKEY && errno != ENOENT)
		failed(result, "request_key", errno);
	else if (own_user_namespace())
		not_here(result, "a key of the container's own");
	else
		harm(result, "the kernel asked the host's /sbin/request-key");
	(void)row;
	(void)root;
}

/* ESRCH: the host's file system has no quotas, else they would now be off. */
void quota(const struct row *row, int root, struct result *result)
{
	struct stat host;

	unlink(row->path);
	if (stat("/attack-host", &host) || mknod(row->path, S_IFBLK | 0600, host.st_dev)) {
		failed(result, "mknod", errno);
		return;
	}
	if (!quotactl(QCMD(Q_QUOTAOFF, USRQUOTA), row->path, 0, NULL) || errno == ESRCH ||
	    errno == EINVAL)
		harm(result, "quotas of the host's file system");
	else if (errno == ENOSYS)
		stopped(result, "quotactl: %s", strerror(errno));
	else
		failed(result, "quotactl", errno);
	unlink(row->path);
	(void)root;
}

/* Sockets that no network namespace holds in. */
void vsock(const struct row *row, int root, struct result *result)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		not_here(result, "no vsock");
	else if (fd < 0)
		failed(result, "socket", errno);
	else
		harm(result, "a socket to the machine that the host runs on");
	close(fd);
	(void)row;
	(void)root;
}

/* The host's console, of which /dev/console of the container is none. */
void console(const struct row *row, int root, struct result *result)
{
	int fd;

	unlink(row->path);
	if (mknod(row->path, S_IFCHR | 0600, makedev(5, 1))) {
		failed(result, "mknod", errno);
		return;
	}
	fd = open(row->path, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		failed(result, "open", errno);
	else
		harm(result, "the host's console is open");
	close(fd);
	unlink(row->path);
	(void)root;
}
