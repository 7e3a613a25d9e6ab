"""doctor's advice for a profile: done as it says, what it was for is gone."""

import re

import pytest

from tests.names import BASE, DOCKER
from tests.unit.doctor_host import CONF, diagnose, instead, make_sound, run_fix
from tests.unit.fakehost import FakeHost


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


def said_of_the_profile(host: FakeHost) -> list[str]:
    found = [f for f in diagnose(host) if f["check"] == "profile-rules"]
    return [f["advice"] for f in found if "lxc-mine" in f["what"]]


@pytest.mark.parametrize(
    ("has", "says"),
    [
        ((), "kernel-files> and include <abstractions/phoenix/kernel-names>"),
        (("kernel-files",), ""),
        (("kernel-names",), ""),
        (("one-root-files",), ""),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_what_denies_the_kernels_files(
    host: FakeHost, has: tuple[str, ...], says: str, local: bool
) -> None:
    """Not a part that the profile has already; each include that is named is then added."""
    lines = ["file,", *(f"include <abstractions/phoenix/{name}>" for name in has)]
    lines += ["include if exists <local/lxc-mine>"] * local
    path = "/etc/apparmor.d/lxc-mine"

    def write() -> None:
        host.write(path, "profile lxc-mine {\n" + "".join(f"  {x}\n" for x in lines) + "}\n")
        host.load("lxc-mine")

    write()
    instead("lxc.apparmor.profile: lxc-mine\n")(host)
    advice = said_of_the_profile(host)
    assert bool(advice) is bool(says)
    if advice:
        named = re.findall(r"include <[^>]*>", advice[0])
        assert says in advice[0] and not set(named) & set(lines)
        lines += named
        write()
        assert said_of_the_profile(host) == []


@pytest.mark.parametrize("local", [True, False])
def test_where_no_part_of_ours_denies_them_the_rule_itself_is_named(
    host: FakeHost, local: bool
) -> None:
    """A site that has edited the parts."""
    for name in ("kernel-files", "kernel-names"):
        host.write(f"/etc/apparmor.d/abstractions/phoenix/{name}", "deny /proc/sys/** w,\n")
    path = "/etc/apparmor.d/lxc-mine"
    text = "include if exists <local/lxc-mine>\n" if local else ""
    host.write(path, f"profile lxc-mine {{\nfile,\ndeny /proc/sys/** w,\n{text}}}\n")
    host.load("lxc-mine")
    instead("lxc.apparmor.profile: lxc-mine\n")(host)
    (advice,) = said_of_the_profile(host)
    where = re.search(r"add to (\S+): ", advice)
    assert where is not None
    assert where[1] == ("/etc/apparmor.d/local/lxc-mine" if local else path)
    denies = re.findall(r"deny /\S+ wklx,", advice)
    assert "deny /proc/sysrq-trigger wklx," in denies
    if local:
        host.write(where[1], "\n".join(denies) + "\n")
    else:
        host.write(path, host.read(path).replace(b"}\n", "\n".join([*denies, "}\n"]).encode()))
    assert said_of_the_profile(host) == []


HOLES = (
    "ptrace,",
    "signal,",
    "mount,",
    "unix,",
    "dbus,",
    "signal (send) peer=unconfined,",
    "ptrace (trace) peer=lxc-*,",
    "/usr/bin/tool Ux,",
)
# What is no hole: in the JSON neither.
FINE = (
    "# mount,",
    "deny mount,",
    "mount fstype=nfs,",
    "mount fstype=proc -> /srv/**,",  # denied by name
    "/srv/** rw,",
    "umount @{HOME},",
    "signal (receive) peer=unconfined,",
    "ptrace (read) peer=@{profile_name},",
    "capability sys_ptrace,",
)


@pytest.mark.parametrize("profile", [BASE, DOCKER])
def test_a_rule_in_local_is_judged_as_in_the_json(host: FakeHost, profile: str) -> None:
    """There it is for all containers under the profile."""
    local = f"/etc/apparmor.d/local/{profile}"
    host.write("/etc/apparmor.d/site.d/more", "unix (connect),\n")
    lines = [*HOLES, *FINE, "include <site.d/more>"]
    host.write(local, "\n".join(lines) + "\n")
    host.cli("reload")
    found = [f for f in diagnose(host) if f["check"] == "profile-rules"]
    said = "\n".join(f"{f['what']} | {f['advice']} | {f['evidence']}" for f in found)
    for rule in HOLES:
        assert rule in said
    for rule in FINE:
        assert f'"{rule}" opens' not in said and f'"{rule}" never' not in said
    assert "/etc/apparmor.d/site.d/more: unix (connect)," in said
    host.write(local, "".join(f"{rule}\n" for rule in FINE))
    host.cli("reload")
    left = [f for f in diagnose(host) if f["severity"] != "note" or "does nothing" not in f["what"]]
    assert [f["what"] for f in left] == []


def of_local(host: FakeHost, profile: str, *rules: str) -> list[tuple[str, str, list[str]]]:
    """(severity, what, containers) of findings on rules in a profile's local file."""
    host.write(f"/etc/apparmor.d/local/{profile}", "".join(f"{rule}\n" for rule in rules))
    host.cli("reload")
    found = (f for f in diagnose(host) if f["check"] == "profile-rules")
    return [(f["severity"], f["what"], f["containers"]) for f in found if "/local/" in f["what"]]


def test_a_rule_in_local_concerns_those_under_its_profile(host: FakeHost) -> None:
    """Each by what it is; README's rule for Docker's data opens no hole in unprivileged ones."""
    rule = "mount -> /srv/data/**,"
    assert of_local(host, BASE, rule) == []
    ((severity, what, ctids),) = of_local(host, BASE, "ptrace,")
    assert (severity, ctids) == ("warning", ["950"])
    assert "opens a hole for CT 950: " in what
    host.json({"950": {}, "951": {}})
    host.conf("951", CONF.replace("unprivileged: 1\n", ""))
    ((severity, what, ctids),) = of_local(host, BASE, rule)
    assert (severity, ctids) == ("warning", ["951"])
    assert "opens a hole for CT 951: it allows any mount there" in what and "unless" not in what
    host.write(f"/etc/apparmor.d/local/{BASE}", "")
    ((severity, what, ctids),) = of_local(host, DOCKER, rule)
    assert (severity, ctids) == ("note", [])
    assert f"opens a hole for a container under {DOCKER}" in what
    assert "unless the container is unprivileged" in what


def test_a_rule_in_local_that_means_no_folder_is_told(host: FakeHost) -> None:
    ((severity, what, ctids),) = of_local(host, BASE, "mount fstype=au9 -> /srv/r,")
    assert (severity, ctids) == ("warning", ["950"]) and "never matches a folder" in what
    (found,) = (f for f in diagnose(host) if f["check"] == "profile-rules")
    assert 'Write "/srv/r/"' in found["advice"]
    assert of_local(host, BASE, "mount fstype=au9 -> /srv/r/,") == []


def test_a_rule_in_local_that_does_nothing_is_told(host: FakeHost) -> None:
    rules = ("/srv/x r,", "/proc/sysrq-trigger w,", "mount fstype=nfs -> /mnt/,")
    found = of_local(host, BASE, *rules, "ptrace (read) peer=@{profile_name}//x,")
    assert {severity for severity, _, _ in found} == {"note"}
    said = [what for _, what, _ in found]
    assert len(said) == len(rules)
    assert f'"/srv/x r," in /etc/apparmor.d/local/{BASE} does nothing: {BASE} allows' in said[0]
    assert f"does nothing: {BASE} denies that explicitly" in said[1]
    assert "only for root of the host, and the containers under it are unprivileged" in said[2]
    # of two that are alike, each would be gone without the other
    assert of_local(host, BASE, *["ptrace (read) peer=@{profile_name}//x,"] * 2) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "json"])
@pytest.mark.parametrize(
    ("rule", "opens"),
    [
        ("mount options=bind /proc -> /srv/r,", True),
        ("mount options=bind /proc/sys -> /srv/r/,", True),
        ("mount options=move /sys/kernel -> /srv/r,", True),
        ("mount options=rbind / -> /srv/r,", True),
        ("mount options=bind /opt -> /srv/r,", False),
        ("mount options=bind /srv/a -> /mnt,", False),
    ],
)
def test_no_slash_is_advised_that_would_open_a_hole(
    host: FakeHost, rule: str, opens: bool, place: str
) -> None:
    """A bind of a folder's name without its slash does nothing; with it, it is as any other."""

    def told(rule: str) -> str:
        own = [] if place == "local" else [rule]
        host.profile("lxc-site", "  include if exists <local/lxc-site>\n")
        host.write("/etc/apparmor.d/local/lxc-site", "" if own else f"{rule}\n")
        host.json({"950": {"apparmor_profile": "lxc-site", "apparmor_rules": own}})
        if own:
            return host.cli("validate").out
        host.cli("reload")
        found = [f for f in diagnose(host) if f["check"] == "profile-rules"]
        return "".join(f"{f['what']} {f['advice']}" for f in found if rule in f["evidence"])

    said = told(rule)
    assert "never matches a folder" in said
    assert ("it would open a hole" in said) is opens and ("Write " in said) is not opens
    assert "opens a hole" not in said
    source, target = (
        name if name.endswith("/") else f"{name}/" for name in rule[:-1].split()[2::2]
    )
    with_it = f"{' '.join(rule.split()[:2])} {source} -> {target},"
    assert ("opens a hole" in told(with_it)) is opens
    assert "never matches" not in told(with_it)


def test_a_nodes_mode_is_one_that_proxmox_takes(host: FakeHost) -> None:
    """Not with the bits that only the host's node has."""
    host.path("/dev/nvidia-uvm").chmod(0o1666)
    host.conf("950", CONF.replace("dev2: /dev/nvidia-uvm\n", ""))
    (found,) = (f for f in diagnose(host) if f["check"] == "gpu-nodes")
    modes = re.findall(r"mode=(\w+)", found["fix"])
    assert modes and all(re.fullmatch("0[0-7]{3}", mode) for mode in modes)


def test_what_apparmor_3_takes_for_more_is_told_with_the_rule_for_just_that(
    host: FakeHost,
) -> None:
    host.profile("lxc-site", "  include if exists <local/lxc-site>\n")
    host.write("/etc/apparmor.d/local/lxc-site", "mount options=(rw,bind) /srv/a/ -> /srv/b/,\n")
    host.assign(c950="lxc-site")
    host.cli("reload")
    said = [f["advice"] for f in diagnose(host) if f["check"] == "profile-rules"]
    assert any("Write options=(bind), which is just that" in advice for advice in said)


def test_the_fixes_of_two_containers_add_no_rule_twice(host: FakeHost) -> None:
    """Also behind a line without an end; each for itself is right before and after the other."""
    host.conf("951", f"features: mount=nfs\nlxc.apparmor.profile: {BASE}\n")
    host.conf("952", f"features: mount=nfs;cifs\nlxc.apparmor.profile: {BASE}\n")
    local = f"/etc/apparmor.d/local/{BASE}"
    host.write(local, "deny /x w,")
    fixes = [f["fix"] for f in diagnose(host) if f["check"] == "features"]
    assert len(fixes) == 2
    for fix in fixes:
        run_fix(host, fix)
    rules = host.read(local).decode().split("\n")
    assert [rule for rule in rules if rule] == [
        "deny /x w,",
        *(f"mount fstype={t}," for t in ("nfs", "cifs")),
    ]
    assert not [f for f in diagnose(host) if f["check"] == "features" and f["fix"]]


@pytest.mark.parametrize("assigned", ["generated", "unconfined"])
def test_nesting_is_no_fix_for_a_privileged_container(host: FakeHost, assigned: str) -> None:
    """With it root in there gets at the host: only who is unprivileged is given the command."""
    host.assign(c950=assigned, c951=assigned)
    text = CONF.replace(f"lxc.apparmor.profile: {BASE}\n", "ostype: debian\n")
    host.conf("950", text.replace("unprivileged: 1\n", ""))
    host.conf("951", text)
    said = {f["containers"][0]: f for f in diagnose(host) if f["check"] == "generated"}
    assert said["950"]["fix"] is None and "root in a privileged container" in said["950"]["advice"]
    assert said["951"]["fix"] == "pct set 951 --features keyctl=1,nesting=1"


def test_nor_instead_of_lxcs_file_for_it(host: FakeHost) -> None:
    name = "/usr/share/lxc/config/nesting.conf"
    host.write(name, "lxc.apparmor.profile = lxc-container-default-with-nesting\n")
    for line, command in (("", False), ("unprivileged: 1\n", True)):
        host.conf("951", f"arch: amd64\n{line}lxc.include: {name}\n")
        (found,) = (f for f in diagnose(host) if f["check"] == "includes")
        assert ("pct set 951" in found["advice"]) is command
