"""The profiles that the package ships, as every test names them."""

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
