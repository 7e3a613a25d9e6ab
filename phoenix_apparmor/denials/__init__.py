"""The kernel's AppArmor denials: read, mapped to containers, grouped and put into words.

source (logs -> message: one Denial each) -> owner (whose it is) -> collector (kinds, bounded) ->
acts (what was tried, the rule that allows it) -> advice (what to do) -> groups (the frozen
report). collect does all of that. Only source, owner, processes, profiles, facts and known ask
the host; the rest is pure.
"""
