/*
 * What AI programs, debuggers and sandboxes ask of the kernel, one word a call:
 * calls WORD ends with 0 if it works, 1 if not, 77 where the kernel does not have it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s: %s\n", #condition, strerror(errno));                  \
			exit(errno == ENOSYS ? 77 : 1);                                            \
		}                                                                                  \
	} while (0)

static void shared_memory(void)
{
	int file = shm_open("/deed", O_CREAT | O_RDWR, 0600);
	char *memory;

	CHECK(file >= 0);
	CHECK(ftruncate(file, 32 * MIB) == 0);
	memory = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(memory != MAP_FAILED);
	memset(memory, 1, 32 * MIB);
	CHECK(shm_unlink("/deed") == 0);
}

static void sysv_memory(void)
{
	int id = shmget(IPC_PRIVATE, 4 * MIB, IPC_CREAT | 0600);
	char *memory;

	CHECK(id >= 0);
	memory = shmat(id, NULL, 0);
	CHECK(memory != (void *)-1);
	memory[MIB] = 1;
	CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static void huge_pages(void)
{
	char *memory = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = syscall(SYS_memfd_create, "deed", MFD_HUGETLB);

	CHECK(memory != MAP_FAILED);
	CHECK(madvise(memory, 8 * MIB, MADV_HUGEPAGE) == 0);
	memset(memory, 1, 8 * MIB);
	CHECK(file >= 0 || errno == ENOENT || errno == EINVAL || errno == ENODEV);
}

static void locked_memory(void)
{
	char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	CHECK(mlock(memory, MIB) == 0);
}

static void io_uring(void)
{
	char parameters[120] = {0};
	int ring = syscall(SYS_io_uring_setup, 4, parameters);

	CHECK(ring >= 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0) != MAP_FAILED);
}

static void memory_policy(void)
{
	unsigned long node = 1;
	char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;

	CHECK(syscall(SYS_mbind, memory, MIB, 2, &node, 8, 0) == 0);
	CHECK(syscall(SYS_set_mempolicy, 1, &node, 8) == 0);
	memset(memory, 1, MIB);
	CHECK(syscall(SYS_move_pages, 0, 1, &memory, NULL, &status, 0) == 0);
}

static void userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int file = syscall(SYS_userfaultfd, O_CLOEXEC);

	CHECK(file >= 0);
	CHECK(ioctl(file, UFFDIO_API, &api) == 0);
}

static pid_t sleeping_child(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		pause();
		_exit(0);
	}
	return child;
}

static void ptrace_child(void)
{
	pid_t child = sleeping_child();
	int status;

	CHECK(ptrace(PTRACE_ATTACH, child, NULL, NULL) == 0);
	CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	CHECK(ptrace(PTRACE_KILL, child, NULL, NULL) == 0);
}

static void process_memory(void)
{
	static char word[] = "shared";
	char copy[sizeof(word)] = {0};
	pid_t child = sleeping_child();
	struct iovec here = {copy, sizeof(copy)}, there = {word, sizeof(word)};

	CHECK(process_vm_readv(child, &here, 1, &there, 1, 0) == sizeof(word));
	CHECK(!strcmp(copy, word));
	kill(child, SIGKILL);
}

static void pidfd(void)
{
	int pipes[2], file;
	pid_t child;

	CHECK(pipe(pipes) == 0);
	child = sleeping_child();
	file = syscall(SYS_pidfd_open, child, 0);
	CHECK(file >= 0);
	CHECK(syscall(SYS_pidfd_getfd, file, pipes[1], 0) >= 0);
	CHECK(syscall(SYS_pidfd_send_signal, file, SIGKILL, NULL, 0) == 0);
}

static void jit(void)
{
	unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
	int file = memfd_create("jit", 0);
	void *memory, *anonymous;

	CHECK(file >= 0 && write(file, code, sizeof(code)) == sizeof(code));
	memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	CHECK(memory != MAP_FAILED && ((int (*)(void))memory)() == 42);
	anonymous = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(anonymous != MAP_FAILED);
	memcpy(anonymous, code, sizeof(code));
	CHECK(((int (*)(void))anonymous)() == 42);
}

static void message_queue(void)
{
	mqd_t queue = mq_open("/deed", O_CREAT | O_RDWR, 0600, NULL);

	CHECK(queue != (mqd_t)-1);
	CHECK(mq_send(queue, "x", 1, 0) == 0);
	CHECK(mq_unlink("/deed") == 0);
}

static void seccomp_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {1, &allow};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0);
}

static void landlock(void)
{
	struct landlock_ruleset_attr attribute = {.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE};
	int rules = syscall(SYS_landlock_create_ruleset, &attribute, sizeof(attribute), 0);

	if (rules < 0 && errno == EOPNOTSUPP)
		exit(77);
	CHECK(rules >= 0);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_landlock_restrict_self, rules, 0) == 0);
	CHECK(open("/root/landlock", O_WRONLY | O_CREAT, 0600) < 0);
}

static void descriptor_passing(void)
{
	int ends[2], file = memfd_create("deed", 0);
	char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	CHECK(file >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &file, sizeof(int));
	CHECK(sendmsg(ends[0], &message, 0) == 1);
	CHECK(recvmsg(ends[1], &message, 0) == 1 && message.msg_controllen);
}

static void affinity(void)
{
	cpu_set_t set;

	CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

static void perf(void)
{
	struct perf_event_attr attribute = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attribute),
					    .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1};

	CHECK(syscall(SYS_perf_event_open, &attribute, 0, -1, -1, 0) >= 0);
}

static void bpf_map(void)
{
	union bpf_attr attribute = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
				    .max_entries = 1};

	CHECK(syscall(SYS_bpf, BPF_MAP_CREATE, &attribute, sizeof(attribute)) >= 0);
}

static void keyring(void)
{
	CHECK(syscall(SYS_keyctl, 1, "deed") >= 0); /* KEYCTL_JOIN_SESSION_KEYRING */
	CHECK(syscall(SYS_add_key, "user", "deed", "x", 1, -3) >= 0);
}

static void watch(void)
{
	int file = inotify_init1(IN_CLOEXEC);

	CHECK(file >= 0);
	CHECK(inotify_add_watch(file, "/root", IN_CREATE) >= 0);
}

static void fanotify_own(void)
{
	int file = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, 0);

	CHECK(file >= 0);
	CHECK(fanotify_mark(file, FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR, AT_FDCWD, "/dev/shm") == 0);
}

static const struct {
	const char *word;
	void (*call)(void);
} calls[] = {
	{"shared_memory", shared_memory}, {"sysv_memory", sysv_memory},
	{"huge_pages", huge_pages}, {"locked_memory", locked_memory}, {"io_uring", io_uring},
	{"memory_policy", memory_policy}, {"userfaultfd", userfaultfd},
	{"ptrace_child", ptrace_child}, {"process_memory", process_memory}, {"pidfd", pidfd},
	{"jit", jit}, {"message_queue", message_queue}, {"seccomp_filter", seccomp_filter},
	{"landlock", landlock}, {"descriptor_passing", descriptor_passing},
	{"affinity", affinity}, {"perf", perf}, {"bpf_map", bpf_map}, {"keyring", keyring},
	{"inotify", watch}, {"fanotify_own", fanotify_own},
};

int main(int argc, char **argv)
{
	for (size_t number = 0; argc == 2 && number < sizeof(calls) / sizeof(*calls); number++) {
		if (!strcmp(argv[1], calls[number].word)) {
			calls[number].call();
			return 0;
		}
	}
	fprintf(stderr, "usage: calls WORD\n");
	return 2;
}
