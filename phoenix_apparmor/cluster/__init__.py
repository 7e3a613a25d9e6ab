"""The cluster: what each node publishes through pmxcfs, and what all of that says."""
