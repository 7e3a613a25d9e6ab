"""What the documents say is there; man pages without a warning; completion in a real bash."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.assignments import parse
from phoenix_apparmor.doctor.messages import MESSAGES, rows
from tests.names import BASE
from tests.unit.fakehost import REPO, FakeHost
from tests.vm.attacks import table

VERBS = ("reload", "apply", "status", "validate", "attach", "detach", "doctor", "denials",
         "suggest", "allow", "publish")  # fmt: skip
README = (REPO / "README.md").read_text()
MAN = sorted((REPO / "debian/man").glob("*.scd"))


def program(name: str) -> str:
    found: str | None = shutil.which(name)
    assert found is not None, f"apt install {name}"
    return found


def manual(source: Path, folder: Path) -> Path:
    target = folder / source.stem
    with source.open() as text:
        done = subprocess.run([program("scdoc")], stdin=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    target.write_bytes(done.stdout)
    return target


@pytest.mark.parametrize("source", MAN, ids=[path.stem for path in MAN])
def test_manual_has_no_warning(source: Path, tmp_path: Path) -> None:
    """As lintian calls man."""
    page = manual(source, tmp_path)
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    # and man does warn, here
    page.write_text(page.read_text() + "\n.XY unknown\n")
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert b"XY" in done.stderr


def options(help_text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_text))


@pytest.mark.parametrize("verb", VERBS)
def test_help_manual_and_completion_agree(host: FakeHost, verb: str) -> None:
    """Each verb has an example in --help; its options are in the man page and complete."""
    done = host.cli(verb, "--help", COLUMNS="80")
    assert done.status == 0
    assert re.search(rf"examples?:\s+phoenix-apparmor {verb}", done.out)
    usage = done.out.split("\n\n")[0]
    taken = options(usage)
    page = (REPO / "debian/man/phoenix-apparmor.8.scd").read_text()
    synopsis = re.search(rf"^\*{verb}\*.*$", page, re.MULTILINE)
    assert synopsis, verb
    assert options(synopsis[0]) == taken
    assert set(complete(host, f"phoenix-apparmor {verb} --")) == taken | {"--help"}


def test_the_keys_of_the_json_are_all_documented() -> None:
    page = (REPO / "debian/man/phoenix_lxc_configs.json.5.scd").read_text()
    said = re.findall(r"^\*(\w+)\* \(", page, re.MULTILINE)
    assert sorted(said) == sorted(parse.OUR_KEYS)


def test_verbs_are_all_documented(host: FakeHost) -> None:
    listed = re.findall(r"^    ([a-z]+) {2,}\S", host.cli("--help").out, re.MULTILINE)
    assert tuple(listed) == VERBS
    assert complete(host, "phoenix-apparmor ") == list(VERBS)


def complete(host: FakeHost, line: str, root: str | None = None) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    script = f"""
        . /usr/share/bash-completion/bash_completion
        . {REPO}/debian/bash-completion
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        COMP_LINE='{line}'
        COMP_POINT={len(line)}
        _phoenix_apparmor
        [[ ${{#COMPREPLY[@]}} -eq 0 ]] || printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = host.run("/bin/bash", "--norc", "-c", script,
                    PHOENIX_APPARMOR_ROOT=str(host.root) if root is None else root)  # fmt: skip
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


def test_ctids_complete(host: FakeHost) -> None:
    for ctid in ("100", "950", "952"):
        host.conf(ctid)
    for verb in ("status", "apply", "attach", "detach", "denials", "doctor"):
        assert complete(host, f"phoenix-apparmor {verb} 9") == ["950", "952"]
    assert complete(host, "phoenix-apparmor status 100 95") == ["950", "952"]
    line = f"phoenix-apparmor --root {host.root} status 1"
    assert complete(host, line, root="") == ["100"]


def test_profiles_complete(host: FakeHost) -> None:
    for name in (BASE, "lxc-site", "lxc-site.dpkg-dist", "lxc-old~", "usr.bin.x"):
        host.profile(name)
    assert complete(host, "phoenix-apparmor reload ") == [BASE, "lxc-site"]
    assert complete(host, "phoenix-apparmor reload lxc-s") == ["lxc-site"]


def test_nothing_to_complete(host: FakeHost) -> None:
    """No container, no folder: nothing, rather than a pattern."""
    assert complete(host, "phoenix-apparmor status ") == []
    host.path("/etc/pve/lxc").rmdir()
    assert complete(host, "phoenix-apparmor status ") == []
    assert complete(host, "phoenix-apparmor reload ") == []


def test_storages_and_files_complete(host: FakeHost, tmp_path: Path) -> None:
    host.write(
        "/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\nzfspool: fast\n\tpool x\n"
    )
    assert complete(host, "phoenix-apparmor attach --storage ") == ["local", "fast"]
    (tmp_path / "a.json").touch()
    (tmp_path / "a.txt").touch()
    assert complete(host, f"phoenix-apparmor validate {tmp_path}/a") == [f"{tmp_path}/a.json"]


@pytest.mark.slow
def test_completion_in_an_interactive_bash(host: FakeHost) -> None:
    """Tabs in a bash on a terminal, as a person types them."""
    for ctid in ("950", "952"):
        host.conf(ctid)
    rc = host.write(
        "/rc",
        f". /usr/share/bash-completion/bash_completion\n. {REPO}/debian/bash-completion\n"
        "PS1='> '\nbind 'set enable-bracketed-paste off'\nbind 'set show-all-if-ambiguous on'\n",
    )
    shell = f"PHOENIX_APPARMOR_ROOT={host.root} TERM=dumb bash --rcfile {rc} -i"
    keys = "{ sleep 1; printf 'phoenix-apparmor sta\\t9\\t'; sleep 1; printf '\\003'; sleep .3; "
    keys += "printf 'exit\\n'; }"
    done = host.run("/bin/sh", "-c", f'{keys} | script -qec "{shell}" /dev/null')
    assert "phoenix-apparmor status " in done.out
    assert re.search(r"950\s+952", done.out)


def test_completion_passes_shellcheck() -> None:
    done = subprocess.run(
        [program("shellcheck"), "-s", "bash", str(REPO / "debian/bash-completion")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def templates() -> set[str]:
    """All texts of the package's code, … where a value is put in."""
    found = set()
    for path in (REPO / "phoenix_apparmor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def said_by(message: str, texts: set[str]) -> bool:
    """Whether one of the texts has the message, or is its beginning; … in either is anything."""
    pattern = ".*".join(map(re.escape, message.split("…")))
    return any(
        re.search(pattern, text)
        or ("…" in text and re.match(".+".join(map(re.escape, text.split("…"))), message))
        for text in texts
        if len(text.replace("…", "")) > 12
    )


@pytest.mark.slow
def test_our_messages_are_in_the_code() -> None:
    """What the reader looks for is what the code says; other programs' are marked."""
    ours = [message.shown for message in MESSAGES if not message.speaker]
    said = [text for shown in ours for text in re.findall(r"`([^`]+)`", shown)]
    assert len(said) > 8
    texts = templates()
    assert [message for message in said if not said_by(message, texts)] == []
    assert not said_by("profile … is on fire in …", texts)


def test_troubleshooting_is_the_list_of_doctor() -> None:
    """The README's table and the man page's DIAGNOSTICS say what doctor CTID says."""
    begin, end = (f"<!-- {word} of phoenix_apparmor/doctor/messages.py -->\n" for word in WORDS)
    table_of_readme = README.partition(begin)[2].partition(end)[0]
    page = REPO / "debian/man/phoenix-apparmor.8.scd"
    if os.environ.get("PHOENIX_WRITE_GOLDEN"):
        head, _, rest = README.partition(begin)
        tail = rest.partition(end)[2]
        table_now = "\n".join(rows()) + "\n"
        (REPO / "README.md").write_text(head + begin + table_now + end + tail)
        before, _, rest = page.read_text().partition("# DIAGNOSTICS\n")
        after = rest[rest.index("\n# ") :]
        page.write_text(f"{before}# DIAGNOSTICS\n\n{diagnostics()}{after}")
        return
    assert table_of_readme == "\n".join(rows()) + "\n"
    section = page.read_text().partition("# DIAGNOSTICS\n\n")[2]
    assert section[: section.index("\n# ")] == diagnostics()


WORDS = ("begin", "end")


def diagnostics() -> str:
    """The list as scdoc's text: what one sees, and below it what it means."""

    def plain(text: str) -> str:
        return re.sub(r"([\\*_<>~#.])", r"\\\1", text.replace("`", ""))

    return (
        "\n\n".join(
            f"*{plain(message.shown)}*{f' ({message.speaker})' if message.speaker else ''}\n"
            f"\t{plain(message.means)}"
            for message in MESSAGES
        )
        + "\n"
    )


def test_commands_of_the_documents_are_there(host: FakeHost) -> None:
    """Every phoenix-apparmor COMMAND --OPTION in the README and the man pages."""
    pages = [README, *(path.read_text().replace("\\", "") for path in MAN)]
    pattern = r"(?:`|^ {4}|^\t?# |&& |\*)phoenix-apparmor ([a-z]+)([^`\n#;|&]*)"
    calls = {call for page in pages for call in re.findall(pattern, page, re.MULTILINE)}
    assert len(calls) > 10
    taken = {verb: options(host.cli(verb, "--help").out) for verb in VERBS}
    for verb, rest in calls:
        assert options(rest) <= taken[verb], (verb, rest)


def test_measured_security_is_in_the_documents() -> None:
    """The README has the summary of what the attacks wrote, the package's document all of it."""
    measured = {suite: table.load(suite) for suite in table.SUITES}
    begin, end = (table.MARK.format(word) for word in ("begin", "end"))
    assert begin in README and end in README
    assert README.partition(begin)[2].partition(end)[0] == table.summary(measured)
    assert table.MATRIX.read_text() == table.render(measured)


def test_the_readme_is_read_to_its_end() -> None:
    assert len(README.encode()) <= 12 << 10


def test_each_section_of_the_readme_that_is_named_is_there() -> None:
    sources = [REPO / "SECURITY.md", *MAN, *(REPO / "phoenix_apparmor").rglob("*.py")]
    named = {
        (source.name, section)
        for source in sources
        for section in re.findall(r'README, "([^"]+)"', " ".join(source.read_text().split()))
    }
    headings = set(re.findall(r"^#+ (.+)$", README, re.MULTILINE))
    assert named and {(name, s) for name, s in named if s not in headings} == set()
    text = "".join(source.read_text() for source in MAN)
    assert 'see "' not in text, "a section of which document?"


def test_security_comes_with_the_package() -> None:
    """And what it names is there, in the tree and in the package."""
    docs = (REPO / "debian/docs").read_text().split()
    assert {"SECURITY.md", "debian/doc/attacks.md"} <= set(docs)
    assert "`attacks.md`" in (REPO / "SECURITY.md").read_text()


def commands_of(section: str) -> list[list[str]]:
    """The phoenix-apparmor commands of a section of the README, in order."""
    text = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^ {4}phoenix-apparmor (.*?)\s*(?:#.*)?$", text, re.MULTILINE)
    return [line.split() for line in lines]


def test_installing_as_the_readme_says_works_on_a_fresh_host(host: FakeHost) -> None:
    """No JSON yet, one container that Proxmox's own profile confines."""
    host.proxmox()
    host.write("/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent snippets\n")
    host.write("/var/lib/vz/snippets/phoenix-apparmor.py", "")
    host.conf("950", "arch: amd64\nunprivileged: 1\n")
    host.profile(BASE)
    host.load(BASE)
    assert host.cli("validate").status == 1, "without the JSON the order would not matter"
    *steps, last = commands_of("Install")
    assert last == ["status"] and len(steps) > 2
    for step in steps:
        done = host.cli(*step)
        assert (done.status, done.err) == (0, ""), (step, done)
    assert "950" in host.cli("status").out
