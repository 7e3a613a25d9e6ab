"""Labels: what the kernel says a process is confined by, and whether that is what was assigned.

The start's last look and status ask here, so that they cannot disagree. Pure.
"""

from phoenix_apparmor import kernel, lxcconf, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from phoenix_apparmor.assignments.parse import Assignment

# How Proxmox's own profile is called wherever there is no profile line.
GENERATED = "generated"
# What LXC takes without a profile line where Proxmox does not write "generated"; the second where
# the kernel has cgroup namespaces (lsm/apparmor.c, AA_DEF_PROFILE and AA_DEF_PROFILE_CGNS).
LXC_DEFAULT = "lxc-container-default"
LXC_DEFAULTS = (LXC_DEFAULT, LXC_DEFAULT + "-cgns")

# "mixed": of a stack in which not all are in one mode; that one of the host's own enforces is
# found out where the label is read (kernel.label_of).
HOLDING = (*kernel.ENFORCING, "mixed")


def honest(assigned: str) -> str:
    """The name of what an assignment means: no profile line is Proxmox's generated profile."""
    return GENERATED if assigned in paths.NO_LINE else assigned


def split(label: str) -> tuple[str, str]:
    """(name, mode) of a label; mode "" for unconfined, which has none."""
    name, separator, mode = label.rpartition(" (")
    return (name, mode.removesuffix(")")) if separator else (label, "")


def short(label: str, ctid: str) -> str:
    """A label as a table shows it: GENERATED or the outermost profile, with its mode if odd.

    A profile that was made for the container alone is shown as the one that it is made of.
    """
    name, mode = split(label)
    outer = name.partition("//&")[0]
    # LXC (lsm/apparmor.c, apparmor_profile_full) calls a generated profile lxc-NAME_<PATH>.
    shown = GENERATED if outer.startswith(f"lxc-{ctid}_<") else outer
    if shown.endswith(f".{ctid}.trial") and mode in HOLDING:
        return shown.removesuffix(f".{ctid}.trial") + " (trial)"
    return shown if mode in ("", *HOLDING) else f"{shown} ({mode})"


def is_weak(label: str) -> bool:
    """Whether a label confines nothing: unconfined, or a mode that only logs."""
    return split(label)[1] not in HOLDING


def fits(label: str, assignment: "Assignment", ctid: str) -> bool:
    """Whether a running container's label is what its assignment means.

    No profile line is the generated profile, or LXC's default where Proxmox did not write the
    runtime configuration. Stacked on a policy namespace of its own, the assigned profile is the
    outermost one; in a trial that is the profile that only logs, with its enforcing guard.
    """
    return fits_names(label, assignment.variants(ctid), ctid, trial=assignment.trial)


def fits_names(label: str, names: "Sequence[str]", ctid: str, *, trial: bool) -> bool:
    """The same of the profiles under which it runs (lxcconf.variants); none: no profile line."""
    if not names:
        return short(label, ctid) in (GENERATED, *LXC_DEFAULTS)
    name, mode = split(label)
    if name.startswith(lxcconf.label(names, ctid, namespace=True)):
        return mode == "mixed" if trial else mode in HOLDING
    same = name == lxcconf.label(names, ctid, namespace=False)
    return same and (mode == "mixed" if trial else mode in kernel.ENFORCING)
