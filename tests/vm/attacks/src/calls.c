/* Tricks that are one system call, about which AppArmor is asked nothing or too little. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

void kernel_log(const struct row *row, int root, struct result *result)
{
	char text[256];
	int length = klogctl(3, text, sizeof(text));

	if (length <= 0)
		failed(result, "syslog", errno);
	else
		harm(result, "read %d bytes of the host's kernel log", length);
	(void)row;
	(void)root;
}

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
