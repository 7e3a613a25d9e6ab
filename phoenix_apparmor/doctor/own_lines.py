"""Checks of AppArmor lines of a container's own: lxc.apparmor.raw and allow_nesting.

LXC writes the raw ones, each as a line, at the end of the profile that it generates, and loads it
(lsm/apparmor.c, get_apparmor_profile_content and apparmor_prepare): one that does not compile ends
the start. Under any other profile they do nothing.
"""

from collections.abc import Iterator, Sequence

from phoenix_apparmor import labels, paths, pveconf
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Setting, of_key
from phoenix_apparmor.policy import compiled
from phoenix_apparmor.policy.files import ProfileFile

RAW_KEY = "lxc.apparmor.raw"
NESTING_KEY = "lxc.apparmor.allow_nesting"
# How LXC's begins: what stands there is allowed, and a rule must not contradict it.
GENERATED = """\
include <tunables/global>
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  dbus,
  file,
  network,
  umount,
"""


def _broken(host: Host) -> Iterator[Finding]:
    """Rules with which LXC cannot load the profile that it generates."""
    if not host.has_program("apparmor_parser"):
        return  # another check tells
    known = reading.assigned(host)
    told: dict[tuple[str, ...], list[tuple[Setting, str]]] = {}
    for conf in reading.confs(host):
        own = of_key(conf.settings, RAW_KEY)
        given = known.get(conf.ctid)
        # our start writes a profile of ours, whatever .conf says before
        ours = given is not None and labels.honest(given.name) != "generated"
        if not own or ours or pveconf.is_template(conf.main) or not conf.is_whole:
            continue
        if conf.used_profile not in (None, "generated"):
            continue
        values = tuple(setting.value for setting in own)
        if values not in told:
            told[values] = [*_wrong(host, own)]
        yield from (_does_not_compile(host, conf, *wrong) for wrong in told[values])


def _wrong(host: Host, own: Sequence[Setting]) -> Iterator[tuple[Setting, str]]:
    """(line, what the parser says), of all lines that do not compile together."""
    whole = _said(host, [setting.value for setting in own])
    if not whole:
        return
    alone = {setting: _said(host, [setting.value]) for setting in own}
    wrong = [(setting, said) for setting, said in alone.items() if said]
    yield from wrong or [(own[-1], whole)]


def _said(host: Host, rules: Sequence[str]) -> str:
    name = "lxc-generated"
    text = GENERATED.format(name=name) + "".join(f"{rule}\n" for rule in rules) + "}\n"
    file = ProfileFile(name, f"{paths.VARIANTS}/{name}", text.encode("utf-8", "surrogateescape"))
    try:
        compiled.compile_text(host, file, keep=False)
    except PhoenixError as error:
        return error.what.removeprefix(f"profile {name} does not compile: ")
    return ""


def _does_not_compile(host: Host, conf: Conf, setting: Setting, said: str) -> Finding:
    comma = not setting.value.endswith(",") and not _said(host, [f"{setting.value},"])
    value = setting.value
    return Finding(
        "error",
        f"CT {conf.ctid} cannot start: "
        + (
            "a rule of its own has no comma at its end"
            if comma
            else "a rule of its own does not compile"
        )
        + ", so LXC cannot load the profile that it generates.",
        f"{setting.file or conf.path}: {setting.line}"
        + ("" if comma else f" (apparmor_parser: {said.removeprefix('AppArmor parser error, ')})"),
        fix=conf_edits.append(conf.path, r"lxc\.apparmor\.raw", value, ",")
        if comma and not setting.file
        else "",
        advice=""
        if comma and not setting.file
        else f"correct it in {setting.file or conf.path}, or take it out",
        ctids=(conf.ctid,),
    )


def _raw_holes(conf: Conf, lines: list[str]) -> Iterator[Finding]:
    """Rules of a privileged container's own that open what the generated profile closes."""
    whose = holes.Container(conf.ctid, privileged=True)
    for line in () if conf.is_unprivileged else lines:
        # the generated profile has "capability," itself (lxc, lsm/apparmor.c, AA_PROFILE_BASE)
        why = holes.hole(line, whose) if holes.split(line)[:1] != ("capability",) else ""
        if why:
            yield Finding(
                "warning",
                f"CT {conf.ctid}: privileged, and a rule of its own opens a hole: {why}.",
                f"{conf.path}: {RAW_KEY}: {line}",
                fix=conf_edits.take_out(conf.path, r"lxc\.apparmor\.raw", line),
                advice=holes.remedy(line, why),
                ctids=(conf.ctid,),
            )


def lines(host: Host) -> Iterator[Finding]:
    """AppArmor lines of the user's own, which are for the generated profile."""
    yield from _broken(host)
    raw: dict[str, list[Conf]] = {}
    nesting: list[Conf] = []
    for conf in reading.confs(host):
        settings = list(conf.lxc())
        if conf.profile in (None, "generated"):
            yield from _raw_holes(conf, [v for k, v in settings if k == RAW_KEY and v])
            continue
        if any(key == RAW_KEY and value for key, value in settings):
            raw.setdefault(conf.profile or "", []).append(conf)
        if (NESTING_KEY, "1") in settings:
            nesting.append(conf)
    for profile, confs in raw.items():
        lines = [v for c in confs for k, v in c.lxc() if k == RAW_KEY]
        named = reading.cts(c.ctid for c in confs)
        where = (
            f'if they are needed, put them into "apparmor_rules" of {named} in the JSON, see what '
            "this says of them: phoenix-apparmor validate, and restart"
        )
        yield Finding(
            "warning",
            f"{named}: {RAW_KEY} does nothing under an explicit profile.",
            f"{confs[0].path}: {reading.listed(lines)}",
            fix=reading.all_of([conf_edits.take_out(c.path, r"lxc\.apparmor\.raw") for c in confs]),
            advice="" if profile == "unconfined" else where,
            ctids=tuple(c.ctid for c in confs),
        )
    if nesting:
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in nesting)}: {NESTING_KEY} mounts the unmasked "
            "/dev/.lxc/{proc,sys} into it whatever its profile is; only the profile's denies "
            "guard them. Where it is needed, phoenix-apparmor sets it.",
            f"{nesting[0].path}: {NESTING_KEY}: 1",
            fix=reading.all_of(
                [conf_edits.take_out(c.path, r"lxc\.apparmor\.allow_nesting") for c in nesting]
            ),
            ctids=tuple(c.ctid for c in nesting),
        )
