/* Devices that a container with cgroup v2 may use: its program is replaced by a longer one. */
#define _GNU_SOURCE
#include "tools.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 4096

static int bpf(int command, union bpf_attr *attribute, const char *name)
{
	int answer = syscall(SYS_bpf, command, attribute, sizeof(*attribute));

	if (answer < 0)
		fail("bpf %s", name);
	return answer;
}

static int cgroup_of(pid_t pid)
{
	char path[512], folder[1024];
	char *end;
	int cgroup;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	snprintf(folder, sizeof(folder), "/sys/fs/cgroup%.900s", text_of(path) + strlen("0::"));
	end = strchr(folder, '\n');
	if (end)
		*end = 0;
	cgroup = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		fail("open %s", folder);
	return cgroup;
}

/* The instructions of a loaded program, to 2 after the start of `into`; how many. */
static uint32_t instructions(int program, struct bpf_insn *into)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attribute = {0};

	info.xlated_prog_insns = (uintptr_t)into;
	info.xlated_prog_len = (MOST - 2) * sizeof(*into);
	attribute.info.bpf_fd = program;
	attribute.info.info_len = sizeof(info);
	attribute.info.info = (uintptr_t)&info;
	bpf(BPF_OBJ_GET_INFO_BY_FD, &attribute, "OBJ_GET_INFO_BY_FD");
	return info.xlated_prog_len / sizeof(*into);
}

/* In front of what is there: devices 195:* are allowed (R0 is 1 and the program ends). */
static int longer(int program)
{
	static struct bpf_insn code[MOST + 4];
	static const struct bpf_insn first[] = {
		{.code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = 4, .src_reg = 1, .off = 4},
		{.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 4, .off = 2, .imm = 195},
		{.code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attribute = {0};
	uint32_t count = instructions(program, code + 4);

	memcpy(code, first, sizeof(first));
	attribute.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attribute.insn_cnt = count + 4;
	attribute.insns = (uintptr_t)code;
	attribute.license = (uintptr_t) "Apache";
	return bpf(BPF_PROG_LOAD, &attribute, "PROG_LOAD");
}

void device_cgroup(const struct container *container)
{
	int cgroup = cgroup_of(container->pid);
	uint32_t ids[64];
	union bpf_attr query = {0};
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	query.query.target_fd = cgroup;
	query.query.attach_type = BPF_CGROUP_DEVICE;
	query.query.prog_ids = (uintptr_t)ids;
	query.query.prog_cnt = 64;
	bpf(BPF_PROG_QUERY, &query, "PROG_QUERY");
	if (!query.query.prog_cnt)
		fail("the container has no program for devices");
	for (uint32_t number = 0; number < query.query.prog_cnt; number++) {
		union bpf_attr by_id = {0}, change = {0};
		int before, after;

		by_id.prog_id = ids[number];
		before = bpf(BPF_PROG_GET_FD_BY_ID, &by_id, "PROG_GET_FD_BY_ID");
		after = longer(before);
		change.target_fd = cgroup;
		change.attach_type = BPF_CGROUP_DEVICE;
		change.attach_bpf_fd = before;
		bpf(BPF_PROG_DETACH, &change, "PROG_DETACH");
		change.attach_bpf_fd = after;
		change.attach_flags = BPF_F_ALLOW_MULTI;
		bpf(BPF_PROG_ATTACH, &change, "PROG_ATTACH");
	}
}
