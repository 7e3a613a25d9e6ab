"""Keeps Proxmox LXC containers with NVIDIA GPUs confined by AppArmor."""

__version__ = "1.0.0"
