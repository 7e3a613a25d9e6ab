"""What status found: a frozen report, and the verdict on each container. Pure: no I/O.

collect.py fills it from a host; text.py, metrics.py and as_json below only show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from phoenix_apparmor import labels
from phoenix_apparmor.assignments.parse import FIX, Assignment
from phoenix_apparmor.status.conf import Conf

SCHEMA_VERSION = 1
Verdict = Literal["ok", "restart pending", "drift", "refused", "down", "not managed", "unknown"]
VERDICTS: tuple[Verdict, ...] = (
    "ok", "restart pending", "drift", "refused", "down", "not managed", "unknown",
)  # fmt: skip
OFF = ("restart pending", "drift", "refused")
# Verdicts that need a person: also what nobody knows of a managed container.
NOT_FINE = (*OFF, "unknown")

# Trouble that concerns every container.
NO_APPARMOR = "this kernel runs without AppArmor: nothing is enforced."
NOT_ENFORCING = "AppArmor as a whole is not in enforce mode: no profile stops anything."
# Trouble by which something cannot be known.
NOT_MOUNTED = "Proxmox's /etc/pve is not mounted, so which containers there are is unknown."
QUORUM_UNKNOWN = "whether the cluster has quorum is unknown: corosync says nothing."

# What systemd says of a container's unit.
FAILED = "its last start failed."

# A profile that is made for a container's own rules, or its trial.
OWN_FAILS = "the profile for its own rules or trial fails"

BELOW = "See what its profile needs, below."

# Of the file's text and the policy in the kernel.
Text = Literal["same", "differs", "not loaded", "broken", "unknown"]


class Note(NamedTuple):
    """Something that a person should know, and how to fix it ("" if nothing is to be done).

    hint: in words, with the command. fix: the command alone, as one can paste it.
    """

    what: str
    hint: str = ""
    fix: str = ""


class Trial(NamedTuple):
    """What a container's trial has shown.

    since: seconds since 1970, 0.0 if unknown. refused: how often its profile would have refused
    something, None if unknown. cut: whether there may have been more.
    """

    since: float
    refused: int | None
    cut: bool


@dataclass(frozen=True)
class Container:
    """One container.

    node: the cluster node it is on, "" if that is this host.
    assigned: as the JSON says it (or its last good entry), "" if it is not managed or if
    nothing good was ever said.
    in_conf: the profile in its configuration, GENERATED without a line; None: unknown.
    running: None: cannot be known from here.
    label: of its init, as the kernel shows it with the mode; None: not running or unknown.
    age: seconds since running and label were looked at, None: never, or too long ago.
    trial: None: it is not on trial.
    """

    ctid: str
    name: str
    node: str
    assigned: str
    in_conf: str | None
    running: bool | None
    label: str | None
    verdict: Verdict
    notes: tuple[Note, ...] = ()
    age: int | None = 0
    trial: Trial | None = None

    @property
    def profile(self) -> str:
        """The assigned profile by its honest name: "unconfined" is GENERATED."""
        return labels.honest(self.assigned)

    @property
    def is_weak(self) -> bool:
        """Whether it is assigned a profile, and runs without being confined by any."""
        return bool(self.assigned) and self.label is not None and labels.is_weak(self.label)

    @property
    def enforced(self) -> str | None:
        """The label in short: GENERATED, or the outermost profile, with its mode if odd."""
        return None if self.label is None else labels.short(self.label, self.ctid)


@dataclass(frozen=True)
class Profile:
    """One profile.

    path: its file, None: there is none.
    conffile: what dpkg says of the file (see conffiles.py), or "unknown".
    mode: in the kernel (enforce, complain, …), None: not loaded.
    used_by: CTIDs of this node that are assigned it.
    blocks: why no container can be started under it, "" if one can.
    """

    name: str
    path: str | None
    conffile: str
    mode: str | None
    text: Text
    used_by: tuple[str, ...]
    notes: tuple[Note, ...] = ()
    off: bool = False
    blocks: str = ""


class NextStart(NamedTuple):
    """What becomes of a container's next start.

    blocks: why it is refused (see Profile), and what to do about that; None: it is not. passes:
    whether it passes us (startways), so that it is made right; None: unknown.
    """

    blocks: Note | None = None
    passes: bool | None = True


@dataclass(frozen=True)
class Report:
    """All that status says.

    source: path of the JSON, "" if there never was one.
    trouble: what is wrong with the whole (the JSON, AppArmor).
    elsewhere: CTIDs of the JSON that are not on this node (nor, with --cluster, on any).
    """

    source: str
    trouble: tuple[Note, ...]
    containers: tuple[Container, ...]
    profiles: tuple[Profile, ...]
    elsewhere: tuple[str, ...] = ()

    @property
    def is_off(self) -> bool:
        """Whether something needs a person."""
        return (
            bool(self.trouble)
            or any(c.verdict in NOT_FINE for c in self.containers)
            or any(p.off for p in self.profiles)
        )

    def count(self, verdict: Verdict) -> int:
        """Containers with a verdict."""
        return sum(c.verdict == verdict for c in self.containers)


def judge(
    ctid: str,
    assignment: Assignment | None,
    conf: Conf | None,
    label: str | None,
    *,
    running: bool | None,
    failed: bool = False,
    then: NextStart | None = None,
) -> tuple[Verdict, tuple[Note, ...]]:
    """The verdict on a container of this node, and why.

    conf: what its configuration says, None where LXC's own is all there is.
    failed: whether systemd has its unit as failed. then: what becomes of its next start.
    """
    if assignment is None:
        return "not managed", ()
    if not assignment.name:
        return "refused", (Note(f"{assignment.problem}. It cannot be started.", FIX),)
    blocks, passes = then or NextStart()
    notes = list(_problem(assignment))
    conf_right = conf is None or conf.says(assignment.profile)
    if conf is not None and not conf_right:
        notes.append(_conf_note(ctid, assignment, conf, passes))
    verdict: Verdict
    if conf is not None and conf.template and not running:
        # it never starts: what its .conf says is in force nowhere
        return "down", tuple(note._replace(hint=_of_template(ctid)) for note in notes)
    if running and label is not None:
        fits = labels.fits(label, assignment, ctid)
        verdict = ("ok" if conf_right else "drift") if fits else "restart pending"
        if not fits:
            weak = labels.is_weak(label)
            verdict = "drift" if weak else verdict
            note = _label_note(ctid, label, assignment, weak=weak, conf=conf, passes=passes)
            notes[:] = [note, *_problem(assignment)]
        after = "" if fits else f" Then: pct reboot {ctid}"
        notes[:] = _blocked(notes, blocks, after)
    elif blocks is not None and not running:
        verdict = "refused"
        why = Note(f"it cannot be started: {blocks.what}.", blocks.hint)
        notes[:] = [why, *_problem(assignment)]
    elif failed and not running:
        verdict = "refused"
        notes.insert(
            0,
            Note(
                FAILED,
                f"See why: phoenix-apparmor doctor {ctid}; try again: pct start {ctid}",
            ),
        )
    else:
        at_rest: Verdict = "down" if running is False else "unknown"
        verdict = at_rest if conf_right else "drift"
    if assignment.problem and verdict in ("ok", "down", "unknown"):
        verdict = "drift"
    return verdict, tuple(notes)


def _blocked(notes: Sequence[Note], blocks: Note | None, then: str) -> list[Note]:
    """The notes where the next start is refused, so that it corrects nothing."""
    if blocks is None:
        return list(notes)
    refused = f"ts next start will be refused: {blocks.what}."
    if not notes:
        return [Note(f"i{refused}", blocks.hint)]
    fix = "Fix that." if blocks.hint == BELOW else blocks.hint
    return [note._replace(hint=f"I{refused} {fix}{then}", fix="") for note in notes]


def _of_template(ctid: str) -> str:
    return (
        "It is a template and never starts, but its clones inherit the line; to correct it: "
        f"phoenix-apparmor apply {ctid}"
    )


def judge_elsewhere(
    ctid: str, node: str, assignment: Assignment | None, conf: Conf
) -> tuple[Verdict, tuple[Note, ...]]:
    """The verdict on a container of another node, whose kernel cannot be asked from here."""
    if assignment is None:
        return "not managed", ()
    if not assignment.name:
        return judge(ctid, assignment, conf, None, running=None)
    if conf.says(assignment.profile):
        return "unknown", ()
    if conf.template:
        return "down", ()
    note = _conf_note(ctid, assignment, conf, passes=None)
    return "drift", (Note(note.what, f"On {node}: phoenix-apparmor apply {ctid}"),)


def _problem(assignment: Assignment) -> Sequence[Note]:
    trouble = assignment.trouble
    return () if trouble is None else (Note(trouble.what, trouble.hint),)


# Why a start is not ours, and where to see what to do about it.
NOT_OURS = "no hookscript is set and the unit's drop-in is not in force"
CORRECTS = {
    True: "The next start corrects it.",
    False: f"No start corrects it, as {NOT_OURS} (see phoenix-apparmor doctor).",
    None: "Whether the next start corrects it is unknown.",
}


def _conf_note(ctid: str, assignment: Assignment, conf: Conf, passes: bool | None) -> Note:
    values = conf.profiles
    wanted = assignment.profile or "no profile line"
    if len(values) > 1:
        said = f"has {len(values)} profile lines"
    elif values == ("generated",) and assignment.profile is None:
        said = "writes out the line lxc.apparmor.profile: generated"
    elif values and values[0] == assignment.profile:
        said = "has the dead key lxc.aa_profile, with which LXC does not start it"
    else:
        said = f"says {values[-1] if values else labels.GENERATED + ' (no profile line)'}"
    return Note(
        f"its .conf {said}; assigned: {wanted}.",
        f"{CORRECTS[passes]} Now: phoenix-apparmor apply {ctid}",
        f"phoenix-apparmor apply {ctid}",
    )


def _label_note(
    ctid: str,
    label: str,
    assignment: Assignment,
    *,
    weak: bool,
    conf: Conf | None,
    passes: bool | None,
) -> Note:
    runs = f"runs under {labels.short(label, ctid)}"
    name, with_more = labels.honest(assignment.name), _more_than_the_profile(assignment)
    if not with_more and runs == f"runs under {name}":
        runs = f"runs under {labels.split(label)[0]}"  # what it is stacked on is the difference
    if label == "unconfined":
        what = {True: "only its user namespace confines", None: "no profile confines"}.get(
            conf.unprivileged if conf is not None else False, "nothing confines"
        )
        runs = f"runs unconfined: {what} root in it"
    elif weak:
        logs = label.endswith("(complain)")
        runs += ", which only logs and stops nothing" if logs else ", which is not enforced"
    return _restart(f"{runs}; assigned: {name}{with_more}.", ctid, passes)


def _more_than_the_profile(assignment: Assignment) -> str:
    """What else is assigned, for which a profile of the container's own is made."""
    trial, number = " in a trial" if assignment.trial else "", len(assignment.rules)
    return trial + (f" with {number} rule{'' if number == 1 else 's'} of its own" if number else "")


def _restart(what: str, ctid: str, passes: bool | None) -> Note:
    """What runs otherwise than assigned, and how a start makes it right."""
    if passes is False:
        return Note(
            what,
            f"A restart alone does not help, as {NOT_OURS}: phoenix-apparmor attach {ctid}; then: "
            f"pct reboot {ctid}",
            f"phoenix-apparmor attach {ctid} && pct reboot {ctid}",
        )
    return Note(what, f"Restart it: pct reboot {ctid}", f"pct reboot {ctid}")


def falls_short(ctid: str, what: str, then: NextStart) -> Note:
    """That a container that runs under its profile lacks what else belongs to it."""
    if then.blocks is not None:  # a note of its own says why
        return Note(f"it {what}.", f"When its start is no longer refused: pct reboot {ctid}")
    return _restart(f"it {what}.", ctid, then.passes)


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs: status.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fine": not report.is_off,
        "source": report.source or None,
        "trouble": [note_as_json(note) for note in report.trouble],
        "elsewhere": list(report.elsewhere),
        "containers": [
            {
                "ctid": c.ctid,
                "name": c.name or None,
                "node": c.node or None,
                "assigned": c.assigned or None,
                "profile": c.profile if c.assigned else None,
                "in_conf": c.in_conf,
                "running": c.running,
                "label": c.label,
                "enforced": c.enforced,
                "verdict": c.verdict,
                "age": c.age,
                "trial": _trial(c.trial),
                "notes": [note_as_json(note) for note in c.notes],
            }
            for c in report.containers
        ],
        "profiles": [
            {
                "name": p.name,
                "path": p.path,
                "conffile": p.conffile,
                "mode": p.mode,
                "text": p.text,
                "used_by": list(p.used_by),
                "fine": not p.off,
                "notes": [note_as_json(note) for note in p.notes],
            }
            for p in report.profiles
        ],
    }


def note_as_json(note: Note) -> dict[str, str]:
    """A note for programs; "definitions" of the schema has it."""
    return {"what": note.what, "hint": note.hint, "fix": note.fix}


def _trial(trial: Trial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    since = datetime.fromtimestamp(trial.since, UTC).isoformat("T", "seconds")
    return {
        "since": since if trial.since else None,
        "would_be_refused": trial.refused,
        "may_be_more": trial.cut,
    }
