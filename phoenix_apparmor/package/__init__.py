"""What installing and removing the package does on a host."""
