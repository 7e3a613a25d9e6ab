/* How a step is said. */
#define _GNU_SOURCE
#include "search.h"

#include <linux/mount.h>
#include <stdio.h>
#include <string.h>

static const char *option(uint32_t flags)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s%s%s%s", flags & MS_REMOUNT ? ",remount" : "",
		 flags & MS_BIND ? ",bind" : "", flags & MS_RDONLY ? ",ro" : "",
		 flags & MS_NOSUID ? ",nosuid" : "", flags & MS_NODEV ? ",nodev" : "",
		 flags & MS_NOEXEC ? ",noexec" : "", flags & MS_SILENT ? ",silent" : "",
		 flags & MS_SHARED ? ",shared" : "", flags & MS_SLAVE ? ",slave" : "",
		 flags & MS_REC ? ",rec" : "");
	return text;
}

void say_step(const struct step *s, char *text, int size)
{
	static const char *const words[] = {"mount", "bind", "move", "flags", "umount", "umount-all",
		"pivot", "chroot", "chdir", "own", "overlay", "rename", "symlink", "userns", "tree",
		"fsmount", "setattr"};

	snprintf(text, size, "%s%s%s %s %s", s->who ? "2:" : "", words[s->verb], option(s->flags), s->a,
		 s->b);
}

/* As a line of sh with util-linux; to the second process by a pipe. */
void shell_step(const struct step *s, char *text, int size)
{
	char line[400];

	switch (s->verb) {
	case MOUNT:
		snprintf(line, sizeof(line), "mount -t %s%s%s none %s", s->a, s->flags ? " -o " : "",
			 s->flags ? option(s->flags) + 1 : "", s->b);
		break;
	case BIND:
		snprintf(line, sizeof(line), "mount --%sbind%s%s %s %s", s->flags & MS_REC ? "r" : "",
			 s->flags & ~MS_REC ? " -o " : "",
			 s->flags & ~MS_REC ? option(s->flags & ~MS_REC) + 1 : "", s->a, s->b);
		break;
	case MOVE:
		snprintf(line, sizeof(line), "mount --move %s %s", s->a, s->b);
		break;
	case FLAGS:
		if (s->flags & MS_REMOUNT)
			snprintf(line, sizeof(line), "mount -o %s%s%s %s", option(s->flags) + 1,
				 *s->a ? "," : "", s->a, s->b);
		else
			snprintf(line, sizeof(line), "mount --make-%s%s %s", s->flags & MS_REC ? "r" : "",
				 s->flags & MS_SHARED ? "shared" : "slave", s->b);
		break;
	case UMOUNT:
		snprintf(line, sizeof(line), "umount -l %s", s->b);
		break;
	case UMOUNT_ALL:
		snprintf(line, sizeof(line), "while umount -l %s; do :; done", s->b);
		break;
	case PIVOT:
		snprintf(line, sizeof(line), "pivot_root %s %s; cd /", s->a, s->b);
		break;
	case CHROOT:
		snprintf(line, sizeof(line), "# the rest in: chroot %s sh", s->b);
		break;
	case CHDIR:
		snprintf(line, sizeof(line), "cd %s", s->b);
		break;
	case OWN:
		snprintf(line, sizeof(line),
			 "mount -t tmpfs none %s; (cd %s; mkdir -p q w x/sbin proc sys old; touch plain)",
			 s->b, s->b);
		break;
	case OVERLAY:
		snprintf(line, sizeof(line),
			 "mount -t overlay overlay -o lowerdir=%s,upperdir=/ovl/u,workdir=/ovl/w %s", s->a,
			 s->b);
		break;
	case RENAME:
		snprintf(line, sizeof(line), "mv %s %s", s->a, s->b);
		break;
	case SYMLINK:
		snprintf(line, sizeof(line), "ln -s %s %s", s->a, s->b);
		break;
	case USERNS:
		snprintf(line, sizeof(line), "# the rest in: unshare -U -r -m sh");
		break;
	default:
		snprintf(line, sizeof(line), "# no shell command: ");
		say_step(s, line + strlen(line), sizeof(line) - strlen(line));
	}
	if (s->who)
		snprintf(text, size, "echo '%s' >&9", line);
	else
		snprintf(text, size, "%s", line);
}
