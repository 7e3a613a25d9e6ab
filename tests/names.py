"""What the package and its profiles are called, as every test names them."""

from phoenix_apparmor import __version__ as VERSION  # noqa: N812  (a constant of the tests)

__all__ = ["BASE", "DOCKER", "JSON", "VERSION"]

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
# The assignments of a cluster.
JSON = "/etc/pve/phoenix_lxc_configs.json"
