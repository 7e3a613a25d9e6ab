/*
 * A hook of an OCI runtime that makes the calls of NVIDIA's, in their order and with their flags,
 * on dummy files: a driver or a GPU is not needed to see what AppArmor says to them.
 *
 * nvidia-replay prestart            what nvidia-container-runtime-hook does (`docker run --gpus`)
 * nvidia-replay WORD                a createContainer hook of CDI: create-symlinks, update-ldcache,
 *                                   update-ldcache-old (toolkit 1.17), disable-device-node-modification
 *
 * Docker calls the first with the one word "prestart", however it is configured: whether it has a
 * part in the device cgroup is said by the file /etc/nvidia-replay-devices.
 */
#include "tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LDCONFIG "/sbin/ldconfig"

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[argc - 1] : "";
	struct container container = told();

	if (!strcmp(word, "prestart")) {
		if (access("/etc/nvidia-replay-devices", F_OK) == 0)
			device_cgroup(&container);
		legacy(&container, LDCONFIG);
	} else if (!strcmp(word, "create-symlinks")) {
		create_symlinks(&container);
	} else if (!strncmp(word, "update-ldcache", strlen("update-ldcache"))) {
		update_ldcache(&container, LDCONFIG, strstr(word, "-old") != NULL);
	} else if (!strcmp(word, "disable-device-node-modification")) {
		no_device_nodes(&container);
	} else {
		errno = EINVAL;
		fail("unknown word %s", word);
	}
	return 0;
}
