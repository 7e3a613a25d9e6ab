/* Rows of several steps: none of them alone is harm. See step() in attack.h for the words. */
#include "attack.h"

#include <stddef.h>

/* A tmpfs of one's own, in which every name is free. */
#define OWN(place) "mkdir " place ";mount tmpfs " place ";"
#define CRED "/run/credentials"
#define DIRS(place) \
	"mkdir " place "/q;mkdir " place "/w;mkdir " place "/x;mkdir " place "/x/sbin;"
/* proc and then its parts bound one path component at a time, until "modprobe" is in an "sbin". */
#define PEEL(from, place) \
	"bind " from "/sys " place "/w;bind " place "/w/kernel " place "/x/sbin"
#define AT_CRED "mkdir /run;mkdir " CRED ";mount tmpfs " CRED ";" DIRS(CRED)
#define AT_DOCKER "mkdir /var/lib/docker;mount tmpfs /var/lib/docker;" DIRS("/var/lib/docker")
#define SBIN(place) place "/x/sbin/modprobe", "/attack"
#define PIVOT(first) \
	first "mkdir /mnt/n;mount tmpfs /mnt/n;mkdir /mnt/n/old;" DIRS("/mnt/n") \
	"file /mnt/n/plain;pivot /mnt/n /mnt/n/old;"
#define FRESH "mount proc /proc;"
#define FRESH_SYS "?umount /sys;mount sysfs /sys;"
#define SHM "mkdir /dev/shm;"
/* In a second mount namespace nothing is mounted there: names are free. */
#define RENAMED(place, name) "2:?umount " place ";2:rename " place " " name
/* A folder that is bound elsewhere, and then becomes the one in which a unit's root is made. */
#define PEER \
	"?flags shared,rec /;mkdir /run;mkdir /run/z;mkdir /run/systemd;mkdir /mnt/c;mkdir /mnt/d;" \
	"file /mnt/f;bind /run/z /mnt/c;rename /run/z /run/systemd/mount-rootfs;"
#define ROOT "rbind / /run/systemd/mount-rootfs;"
#define RESCAN "bus/pci/rescan", "0"
#define CLOCK "devices/system/clocksource/clocksource0/current_clocksource", 0
#define HOST_OPTION "errors=remount-ro"
#define HOST_BACK "errors=continue"

const struct row chains[] = {
	/* The host's kernel under other names */
	{"chain-proc-credentials", by_steps, AT_CRED "mount proc " CRED "/q;" PEEL(CRED "/q", CRED), 0,
	 change, SBIN(CRED)},
	{"chain-proc-bound-credentials", by_steps,
	 AT_CRED "?umount /proc/sys;bind /proc " CRED "/q;" PEEL(CRED "/q", CRED), 0, change, SBIN(CRED)},
	{"chain-proc-fresh-credentials", by_steps,
	 AT_CRED FRESH "bind /proc " CRED "/q;" PEEL(CRED "/q", CRED), 0, change, SBIN(CRED)},
	{"chain-proc-docker", by_steps,
	 AT_DOCKER "mount proc /var/lib/docker/q;" PEEL("/var/lib/docker/q", "/var/lib/docker"), 0,
	 change, SBIN("/var/lib/docker")},
	{"chain-proc-shm", by_steps,
	 SHM OWN("/mnt/t") DIRS("/mnt/t") "mount proc /dev/shm;" PEEL("/dev/shm", "/mnt/t"), 0, change,
	 SBIN("/mnt/t")},
	{"chain-proc-unit-root", by_steps,
	 "mkdir /run;mkdir /run/systemd;mkdir /run/systemd/unit-root;mount tmpfs /run/systemd/unit-root;"
	 DIRS("/run/systemd/unit-root") "mount proc /run/systemd/unit-root/q;"
	 PEEL("/run/systemd/unit-root/q", "/run/systemd/unit-root"), 0, change,
	 SBIN("/run/systemd/unit-root")},
	{"chain-proc-peer", by_steps, PEER FRESH ROOT "bind /mnt/c/proc/sys/kernel/core_pattern /mnt/f", 0,
	 change, "/mnt/f", "attack"},
	{"chain-proc-peer-vm", by_steps, PEER FRESH ROOT "bind /mnt/c/proc/sys/vm /mnt/d", 0, change,
	 "/mnt/d/overcommit_ratio", "49"},
	{"chain-sys-peer", by_steps, PEER FRESH_SYS ROOT "bind /mnt/c/sys/module/printk /mnt/d", 0, change,
	 "/mnt/d/parameters/time", "N"},
	{"chain-proc-private-tmp", by_steps,
	 OWN("/mnt/t") DIRS("/mnt/t") "mkdir /run/systemd;mkdir /run/systemd/unit-private-tmp;"
	 "mount proc /run/systemd/unit-private-tmp;" PEEL("/run/systemd/unit-private-tmp", "/mnt/t"), 0,
	 change, SBIN("/mnt/t")},
	{"chain-sys-credentials", by_steps,
	 AT_CRED "mount sysfs " CRED "/q;bind " CRED "/q/bus " CRED "/w", 0, trigger,
	 CRED "/w/pci/rescan", "0"},
	{"chain-proc-pivot", by_steps, PIVOT(FRESH) "bind /old/proc /q;" PEEL("/q", ""), 0, change,
	 SBIN("")},
	{"chain-proc-pivot-file", by_steps,
	 PIVOT(FRESH) "bind /old/proc /q;bind /q/sys /w;bind /w/kernel/core_pattern /plain", 0, change,
	 "/plain", "attack"},
	{"chain-proc-pivot-move", by_steps, PIVOT(FRESH) "move /old/proc /q;" PEEL("/q", ""), 0, change,
	 SBIN("")},
	{"chain-proc-pivot-rbind", by_steps,
	 PIVOT(FRESH) "rbind /old /q;bind /q/proc /w;bind /w/sys /q;bind /q/kernel /x/sbin", 0, change,
	 SBIN("")},
	{"chain-sys-pivot", by_steps, PIVOT(FRESH_SYS) "bind /old/sys /q;bind /q/bus /w", 0, trigger,
	 "/w/pci/rescan", "0"},
	{"chain-proc-move", by_steps, OWN("/mnt/t") DIRS("/mnt/t") FRESH "move /proc /mnt/t/q;"
	 PEEL("/mnt/t/q", "/mnt/t"), 0, change, SBIN("/mnt/t")},
	{"chain-proc-tmpfs-renamed", by_steps,
	 OWN("/mnt/t") "mkdir /mnt/t/proc;mkdir /mnt/t/old;pivot /mnt/t /mnt/t/old;mount proc /proc;"
	 RENAMED("/proc", "/q"), 0, same, "/q/sys/vm/swappiness", 0},

	/* Parts of /proc where others of its parts may be written */
	{"chain-proc-sys-on-attr", by_steps, FRESH "bind /proc/sys /proc/1/attr", 0, change,
	 "/proc/1/attr/kernel/core_pattern", "attack"},
	{"chain-proc-sys-on-attr-vm", by_steps, FRESH "bind /proc/sys /proc/1/attr", 0, same,
	 "/proc/1/attr/vm/swappiness", 0},
	{"chain-proc-sys-on-process", by_steps, FRESH "bind /proc/sys /proc/1", 0, same,
	 "/proc/1/vm/swappiness", 0},
	{"chain-proc-irq-on-process", by_steps, FRESH "bind /proc/irq /proc/1", 0, same,
	 "/proc/1/default_smp_affinity", 0},
	{"chain-proc-trigger-on-hostname", by_steps,
	 FRESH "bind /proc/sysrq-trigger /proc/sys/kernel/hostname", 0, trigger,
	 "/proc/sys/kernel/hostname", "h"},

	/* Mount points renamed from a second mount namespace */
	{"chain-proc-renamed", by_steps, FRESH RENAMED("/proc", "/zp"), 0, same, "/zp/sys/vm/swappiness",
	 0},
	{"chain-proc-renamed-irq", by_steps, FRESH RENAMED("/proc", "/zp"), 0, same,
	 "/zp/irq/default_smp_affinity", 0},
	{"chain-sys-renamed", by_steps, FRESH_SYS RENAMED("/sys", "/zs"), 0, trigger, "/zs/" RESCAN},
	{"chain-sys-renamed-system", by_steps, FRESH_SYS RENAMED("/sys", "/zs"), 0, same, "/zs/" CLOCK},
	{"chain-sys-renamed-pivot", by_steps,
	 FRESH_SYS "2:mkdir /mnt/n;2:mount tmpfs /mnt/n;2:mkdir /mnt/n/old;2:mkdir /mnt/n/b;2:bind / /mnt/n/b;"
	 "2:pivot /mnt/n /mnt/n/old;2:?umount /old;2:rename /b/sys /b/zs", 0, trigger, "/zs/" RESCAN},
	{"chain-sys-renamed-kept", by_steps,
	 FRESH_SYS "2:mkdir /mnt/n;2:mount tmpfs /mnt/n;2:mkdir /mnt/n/old;2:keep /;"
	 "2:pivot /mnt/n /mnt/n/old;2:?umount /old;2:tokept;2:rename sys zs", 0, trigger, "/zs/" RESCAN},
	{"chain-sys-rbind-renamed", by_steps,
	 FRESH_SYS "mkdir /run/systemd;mkdir /run/systemd/mount-rootfs;rbind / /run/systemd/mount-rootfs;"
	 "2:?umount /run/systemd/mount-rootfs;2:rename /run/systemd/mount-rootfs /run/systemd/m;"
	 "2:?umount /sys;2:rename /sys /zs", 0, trigger, "/run/systemd/m/zs/" RESCAN},
	{"chain-proc-covered", by_steps, "mkdir /mnt/c;mkdir /mnt/c/q;mount tmpfs /proc;mkdir /proc/proc;"
	 "mount proc /proc/proc", 0, same, "/proc/proc/sys/vm/swappiness", 0},
	{"chain-sys-covered", by_steps, "mount tmpfs /sys;mkdir /sys/a;mount sysfs /sys/a", 0, trigger,
	 "/sys/a/" RESCAN},

	/* Mounts that their namespace or a lazy umount has left without a path */
	{"chain-proc-kept", by_steps_kept, FRESH "keep /proc/sys/kernel;?umount /proc", 0, change,
	 "core_pattern", "attack"},
	{"chain-proc-kept-vm", by_steps_kept, FRESH "keep /proc;?umount /proc", 0, same,
	 "sys/vm/swappiness", 0},
	{"chain-sys-kept", by_steps_kept, FRESH_SYS "keep /sys;?umount /sys", 0, trigger, RESCAN},
	{"chain-sys-kept-bus", by_steps_kept,
	 FRESH_SYS "bind /sys/bus /sys/bus;keep /sys/bus/pci;?umount /sys/bus", 0, trigger, "rescan", "0"},
	/* The whole root goes, and /proc with it: it may be that of a unit as well as the container's. */
	{"chain-proc-rootless-mode", by_steps_kept, "keep /proc;umount /", 0, same_mode, "meminfo", 0},
	{"chain-proc-rootless-folder", by_steps_kept, "keep /proc;umount /", 0, same_mode, "irq", 0},
	{"chain-proc-rootless-keys", by_steps_kept, "keep /proc;umount /", 0, leak, "keys", 0},
	{"chain-sys-rootless-mode", by_steps_kept, "keep /sys;umount /", 0, same_mode, "bus", 0},
	{"chain-sys-rbind-kept", by_steps_kept,
	 FRESH_SYS "mkdir /run/systemd;mkdir /run/systemd/mount-rootfs;rbind / /run/systemd/mount-rootfs;"
	 "keep /run/systemd/mount-rootfs/sys/bus/pci;?umount /run/systemd/mount-rootfs", 0, trigger,
	 "rescan", "0"},

	/* A file system of the host's, remounted */
	{"chain-host-remount-credentials", by_steps,
	 "mkdir " CRED ";mkdir " CRED "/r;bind /attack-host " CRED "/r;flags rw,remount " CRED "/r "
	 HOST_OPTION, CRED "/r", host_option, 0, HOST_BACK},
	{"chain-host-remount-shm", by_steps,
	 SHM "bind /attack-host /dev/shm;flags rw,remount /dev/shm " HOST_OPTION, "/dev/shm", host_option, 0,
	 HOST_BACK},
	{"chain-host-remount-dev", by_steps,
	 "bind /attack-host /dev;flags rw,remount /dev " HOST_OPTION, "/dev", host_option, 0, HOST_BACK},
	{"chain-host-remount-docker", by_steps,
	 "mkdir /var/lib/docker;mkdir /var/lib/docker/r;bind /attack-host /var/lib/docker/r;"
	 "flags rw,remount /var/lib/docker/r " HOST_OPTION, "/var/lib/docker/r", host_option, 0,
	 HOST_BACK},
	{"chain-host-remount-place", by_steps, "flags rw,remount /attack-host " HOST_OPTION,
	 "/attack-host", host_option, 0, HOST_BACK},
	{"chain-host-remount-tmp", by_steps,
	 "mkdir /tmp/r;bind /attack-host /tmp;flags rw,remount,nosuid,nodev /tmp " HOST_OPTION, "/tmp",
	 host_option, 0, HOST_BACK},

	/* A share that the admin gave read-only */
	{"chain-share-remount", by_steps, "flags remount,bind /attack-ro", 0, make_file,
	 "/attack-ro/attack", 0},
	{"chain-share-remount-nosuid", by_steps, "flags remount,bind,nosuid,nodev /attack-ro", 0,
	 make_file, "/attack-ro/attack", 0},
	{"chain-share-remount-relatime", by_steps,
	 "flags remount,bind,nosuid,nodev,noexec,relatime,silent /attack-ro", 0, make_file,
	 "/attack-ro/attack", 0},
	{"chain-share-credentials", by_steps,
	 "mkdir " CRED ";mkdir " CRED "/r;bind /attack-ro " CRED "/r;flags remount,bind " CRED "/r", 0,
	 make_file, CRED "/r/attack", 0},
	{"chain-share-shm", by_steps, SHM "bind /attack-ro /dev/shm;flags remount,bind /dev/shm", 0, make_file,
	 "/dev/shm/attack", 0},
	{"chain-share-docker", by_steps,
	 "mkdir /var/lib/docker;mkdir /var/lib/docker/r;bind /attack-ro /var/lib/docker/r;"
	 "flags remount,bind /var/lib/docker/r", 0, make_file, "/var/lib/docker/r/attack", 0},
	{"chain-share-namespace", by_steps,
	 "mkdir /run/systemd;mkdir /run/systemd/namespace-x;bind /attack-ro /run/systemd/namespace-x;"
	 "flags remount,bind /run/systemd/namespace-x", 0, make_file, "/run/systemd/namespace-x/attack",
	 0},
	{"chain-share-private-tmp", by_steps,
	 "mkdir /run/systemd;mkdir /run/systemd/unit-private-tmp;"
	 "bind /attack-ro /run/systemd/unit-private-tmp;"
	 "flags remount,bind,nosuid,nodev /run/systemd/unit-private-tmp", 0, make_file,
	 "/run/systemd/unit-private-tmp/attack", 0},
	{"chain-share-dev", by_steps, "bind /attack-ro /dev;flags remount,bind /dev", 0, make_file,
	 "/dev/attack", 0},
	{"chain-share-overlay", by_steps,
	 "flags remount /attack-ro", 0, make_file, "/attack-ro/attack", 0},
	{"share-setattr", by_setattr, "/attack-ro", 0, make_file, "attack", 0},

	/* File systems of which the whole machine has one, where an unit's things are built */
	{"chain-fusectl-credentials", by_steps,
	 "mkdir " CRED ";mkdir " CRED "/f;mount fusectl " CRED "/f", 0, visible, CRED "/f", 0},
	{"chain-fusectl-shm", by_steps, SHM "mount fusectl /dev/shm", 0, visible, "/dev/shm", 0},
	{"chain-fusectl-docker", by_steps,
	 "mkdir /var/lib/docker;mkdir /var/lib/docker/f;mount fusectl /var/lib/docker/f", 0, visible,
	 "/var/lib/docker/f", 0},
	{NULL},
};
