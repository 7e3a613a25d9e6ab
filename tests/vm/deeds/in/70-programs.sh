# The system calls of AI programs, debuggers and the like: see src/calls.c.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

deed_calls_shared_memory() {
    /calls shared_memory
}

deed_calls_sysv_memory() {
    /calls sysv_memory
}

deed_calls_huge_pages() {
    /calls huge_pages
}

deed_calls_locked_memory() {
    /calls locked_memory
}

deed_calls_io_uring() {
    /calls io_uring
}

deed_calls_memory_policy() {
    /calls memory_policy
}

deed_calls_userfaultfd() {
    /calls userfaultfd
}

deed_calls_ptrace_child() {
    /calls ptrace_child
}

deed_calls_process_memory() {
    /calls process_memory
}

deed_calls_pidfd() {
    /calls pidfd
}

deed_calls_jit() {
    /calls jit
}

deed_calls_message_queue() {
    /calls message_queue
}

deed_calls_seccomp_filter() {
    /calls seccomp_filter
}

deed_calls_landlock() {
    /calls landlock
}

deed_calls_descriptor_passing() {
    /calls descriptor_passing
}

deed_calls_affinity() {
    /calls affinity
}

deed_calls_perf() {
    /calls perf
}

deed_calls_bpf_map() {
    /calls bpf_map
}

deed_calls_keyring() {
    /calls keyring
}

deed_calls_inotify() {
    /calls inotify
}

deed_calls_fanotify_own() {
    /calls fanotify_own
}
