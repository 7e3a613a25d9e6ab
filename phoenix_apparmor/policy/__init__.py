"""Profiles: their files, what they compile to, what the kernel has, what dpkg says of them."""
