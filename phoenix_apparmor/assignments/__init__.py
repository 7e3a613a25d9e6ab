"""Who gets which profile: the JSON, what of it is wrong, and the copy of the last good one."""
