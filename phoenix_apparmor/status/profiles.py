"""Profile files against the kernel: the profiles' part of the report of status."""

from collections.abc import Callable, Iterator, Sequence

from phoenix_apparmor import kernel, paths, trial
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, load, policytext, rules, ways_out
from phoenix_apparmor.policy.files import ProfileFile
from phoenix_apparmor.status import report
from phoenix_apparmor.status.report import Note, Profile

# What the files of dpkg are called here; see conffiles.State.
CONFFILE_WORDS = {
    "pristine": "as shipped",
    "modified": "edited",
    "missing": "deleted",
    "obsolete": "obsolete",
    "unconfigured": "unpacked",
}

# Called with a few words on what is done now, for a person who waits.
Progress = Callable[[str], None]


def all_profiles(
    host: Host, known: Known, here: Sequence[str], ctids: Sequence[str], progress: Progress
) -> Iterator[Profile]:
    """Each profile that we look after or that a container here is assigned, by name.

    here: CTIDs of this node; ctids: if any, only the profiles that these are assigned.
    """
    used: dict[str, list[str]] = {}
    for ctid in sorted(here, key=int):
        assignment = known.of(ctid)
        if assignment is not None and assignment.name and assignment.profile is not None:
            used.setdefault(assignment.profile, []).append(ctid)
    listing = kernel.profile_list(host)
    states = conffile_states(host)
    found = {file.name: file for file in files.ours(host, frozenset(used))}
    for name in sorted(found.keys() | used.keys()):
        by = tuple(used.get(name, ()))
        if ctids and not set(by) & set(ctids):
            continue
        if name in found:
            progress(f"compiling {name}")
            yield _profile(host, found[name], listing, states, by)
        else:
            yield _without_file(host, name, listing, by)


def _profile(
    host: Host,
    file: ProfileFile,
    listing: bytes | None,
    states: dict[str, tuple[str, str]],
    used_by: tuple[str, ...],
) -> Profile:
    mode = None if listing is None else kernel.mode_of(listing, file.name)
    text, notes = compare(host, file, listing, mode)
    conffile, waiting = states.get(file.path, ("unknown" if not states else "not dpkg's", ""))
    if waiting:
        notes.append(
            Note(
                f"{waiting} is waiting: the package's new version is not in force.",
                f"See it: diff -u {_both(file.path, waiting)}; "
                f"take it: mv {_both(waiting, file.path)}; then: phoenix-apparmor reload",
            )
        )
    if mode is not None and mode not in kernel.ENFORCING:
        notes.append(
            Note(f"it is in {mode} mode: it stops nothing.", _how_to_enforce(host, file, mode))
        )
    unsure = ""
    if text not in ("broken", "unknown"):
        found, unsure = _ways_out(host, file)
        notes += found
    off = bool(notes)
    if unsure:
        notes.append(Note(f"whether it confines root is unknown: {unsure}", ""))
    if text == "unknown" and mode is not None:
        notes.append(Note("whether the kernel runs this file's text is unknown.", ""))
    blocks = ""
    if mode is not None and mode not in kernel.ENFORCING:
        blocks = f"its profile {file.name} is in {mode} mode"
    elif listing is not None and mode is None and text != "not loaded":
        blocks = f"its profile {file.name} cannot be loaded"
    elif listing is not None and mode is None:
        said = policytext.flags(file.text.decode("utf-8", "surrogateescape"), file.name)
        weak = next(iter(said & files.WEAK_FLAGS), "")
        blocks = f"its profile {file.name} would be loaded in {weak} mode" if weak else ""
    return Profile(file.name, file.path, conffile, mode, text, used_by, tuple(notes), off, blocks)


def _how_to_enforce(host: Host, file: ProfileFile, mode: str) -> str:
    if kernel.overriding_mode(host):
        return f"All are: {kernel.TO_ENFORCE}"
    linked = files.switched_off(host, file) is not None
    how = "Remove that link" if linked else f'Remove "{mode}" from its flags in {file.path}'
    return f"{how}, then: phoenix-apparmor reload"


def _ways_out(host: Host, file: ProfileFile) -> tuple[list[Note], str]:
    """That root can get out of it, by its own rules; why that cannot be known, "" if it can."""
    try:
        found = ways_out.ways_out(rules.effective(host, file), loose=rules.takes_any_mount(host))
    except PhoenixError as error:
        return [], error.what
    if not found or any(file_flag in found[0].rule for file_flag in ("(complain)", "(prompt)")):
        return [], ""  # its mode is told
    what = f"it does not confine root in a privileged container: it {found[0].how}."
    return [Note(what, "See all of it: phoenix-apparmor doctor")], ""


def _without_file(
    host: Host, name: str, listing: bytes | None, used_by: tuple[str, ...]
) -> Profile:
    mode = None if listing is None else kernel.mode_of(listing, name)
    assignable = trial.assignable(host, name)
    note = Note(
        f"it is assigned to a container but has no file in {paths.APPARMOR_D}.",
        "Correct the name in the JSON, or put the profile there and run: phoenix-apparmor reload",
    )
    if assignable:
        note = Note(f"it {trial.MADE}.", f'Assign "{assignable}".')
    conffile, why = "no file", f"no file holds its profile {name}"
    try:
        files.find(host, name)
    except PhoenixError as error:
        note = Note(f"whether there is a file for it is unknown: {error.what}", error.hint)
        conffile, why = "unknown", f"its profile {name} cannot be loaded"
    text: report.Text = "not loaded" if listing is not None and mode is None else "unknown"
    # also one that the kernel has: which seccomp policy goes with it, only a file says
    return Profile(name, None, conffile, mode, text, used_by, (note,), off=True, blocks=why)


def compare(
    host: Host, file: ProfileFile, listing: bytes | None, mode: str | None
) -> tuple[report.Text, list[Note]]:
    """Whether the kernel runs just this file's text, and what is wrong where it does not.

    The kernel keeps the hash of the very bytes that were loaded; the same parser gives the
    same bytes for the same text, so they are compiled and compared.
    """
    link = files.switched_off(host, file)
    if link is not None:
        return "unknown", [
            Note(
                f"{link} {files.off_does(link)}.",
                f"To use it: rm {link} && phoenix-apparmor reload",
            )
        ]
    try:
        policy = compiled.policy_of(host, file)
    except PhoenixError as error:
        unknown = isinstance(error, compiled.TooLargeError)
        unknown = unknown or not host.has_program("apparmor_parser")
        return ("unknown" if unknown else "broken"), [Note(error.what, error.hint)]
    if listing is not None and mode is None:
        return "not loaded", [
            Note("the kernel does not have it.", "Load it: phoenix-apparmor reload")
        ]
    if listing is None or not _has_hash(host, file.name):
        return "unknown", []
    if load.is_loaded(host, file.name, policy):
        return "same", []
    # A text edited since, a newer parser, or a stale cache (see load.load).
    why = "the kernel does not run what this file compiles to now."
    return "differs", [Note(why, "Load it: phoenix-apparmor reload")]


def _both(first: str, second: str) -> str:
    """Two paths, of which one begins with the other, as short as bash reads them."""
    if second.startswith(first):
        return f"{first}{{,{second.removeprefix(first)}}}"
    return f"{second}{{{first.removeprefix(second)},}}"


def _has_hash(host: Host, name: str) -> bool:
    """Whether this kernel says, to this user, what policy it holds."""
    try:
        return kernel.policy_hash(host, name) is not None
    except OSError:
        return False


def conffile_states(host: Host) -> dict[str, tuple[str, str]]:
    """Path -> (state in words, path of the version that waits or ""); empty if unknown."""
    from phoenix_apparmor.policy import conffiles

    if not host.exists("/var/lib/dpkg/status"):
        return {}
    try:
        found = conffiles.of_package(host)
    except (PhoenixError, ImportError):
        return {}
    return {c.path: (CONFFILE_WORDS.get(c.state, c.state), c.waiting) for c in found}
