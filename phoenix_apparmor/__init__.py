"""Keeps Proxmox LXC containers with NVIDIA GPUs confined by AppArmor."""

__version__ = "1.1.0"
