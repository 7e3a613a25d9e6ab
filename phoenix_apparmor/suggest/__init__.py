"""Which profile a container should have, and why: seen from its configuration and its files."""
