"""The kernel's AppArmor denials: read, mapped to containers, grouped and put into words.

message (text of one kernel message -> Denial) -> owner (whose it is) -> acts (what was
tried, the rule that allows it) -> groups (the frozen report). Only source and owner ask
the host; the rest is pure.
"""
