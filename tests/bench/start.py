#!/usr/bin/python3
"""What a container's start pays for the hookscript when nothing has to change, and what apply
--all takes. Prints ratios.

Side by side with hyperfine: the hookscript with 15 containers in the JSON, with 10,000, the
bare interpreter, and the shell pipeline of the original design (jq, grep, sed). One run
compares; the absolute times are this machine's mood. apply is compared in CPU time, as most of
the rest is the disk.
"""

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost

RUNS = os.environ.get("RUNS", "60")

SHELL = r"""
json=$1/etc/pve/phoenix_lxc_configs.json ctid=$2 conf=$1/etc/pve/lxc/$2.conf
profile=$(jq -r --arg c "$ctid" \
    '.lxc_configs[$c].apparmor_profile // "lxc-nvidia-gpu-base"' "$json")
if [ "$profile" = unconfined ]; then
    sed -i '/^lxc.apparmor.profile:/d' "$conf"
elif grep -q '^lxc.apparmor.profile:' "$conf"; then
    sed -i "s|^lxc.apparmor.profile:.*|lxc.apparmor.profile: $profile|" "$conf"
else
    echo "lxc.apparmor.profile: $profile" >>"$conf"
fi
"""


def prepare(containers: int, size: int, **more: object) -> FakeHost:
    """A host on which container 952 is as it should be; the JSON has about size bytes each.

    more: of its entry.
    """
    host = FakeHost(Path(tempfile.mkdtemp(prefix="bench-")))
    entry = {"name": "x", "apparmor_profile": BASE, "filler": "f" * size}
    first = 952 - min(containers, 10) + 1
    entries = {str(first + number): entry for number in range(containers)}
    host.json(entries | {"952": entry | more})
    os.environ.update(PATH=host.environment["PATH"], FAKE_ROOT=str(host.root))
    host.conf("952", f"arch: amd64\nlxc.apparmor.profile: {BASE}\n")
    host.runtime("952", b"lxc.idmap = u 0 1 1\nlxc.apparmor.profile = lxc-nvidia-gpu-base\n")
    host.write(f"/etc/apparmor.d/{BASE}", (REPO / "profiles" / BASE).read_bytes())
    host.kernel({f"other-{number}": "enforce" for number in range(100)} | {BASE: "enforce"})
    # The package is compiled at installation (py3compile).
    installed = host.path("/usr/lib/python3/dist-packages")
    shutil.copytree(REPO / "phoenix_apparmor", installed / "phoenix_apparmor")
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", installed], check=True)
    line = 'sys.path.append("/usr/lib/python3/dist-packages")\n'
    script = host.path("/hook")
    texts = (
        ("hook.py", "hook", line, f'sys.path.append("{installed}")\n{line}'),
        ("hook", "hookscript", "/usr/libexec/phoenix-apparmor/hook ", f"{script}.py "),
    )
    for name, shipped, old, new in texts:
        host.write(f"/{name}", (REPO / "hooks" / shipped).read_text().replace(old, new))
        host.path(f"/{name}").chmod(0o755)
    os.environ["PHOENIX_APPARMOR_ROOT"] = str(host.root)
    for _ in range(2):
        subprocess.run([host.path("/hook"), "952", "pre-start"], check=True)
    host.settle()
    subprocess.run([host.path("/hook"), "952", "pre-start"], check=True)
    return host


def after_a_change(host: FakeHost, command: str) -> float:
    """Seconds of a start that finds the JSON changed, so that it reads and checks it again."""
    result = host.path("/changed.json")
    touch = f"touch {host.path('/etc/pve/phoenix_lxc_configs.json')}"
    options = ["-N", "-w", "2", "-r", RUNS, "-p", touch, "--export-json", str(result)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["hyperfine", *options, command], check=True, **quiet)  # type: ignore[call-overload]
    median: float = json.loads(result.read_text())["results"][0]["median"]
    return median


def in_turn(one: FakeHost, other: FakeHost) -> float:
    """How much longer the other's start takes than the one's.

    Started in turn, so that what else this machine does slows both, and by the lower quartiles.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(2 * int(RUNS)):
        for host, times in zip((one, other), taken, strict=True):
            environment = {**os.environ, "PHOENIX_APPARMOR_ROOT": str(host.root)}
            begin = time.perf_counter()
            subprocess.run([host.path("/hook"), "952", "pre-start"], env=environment, check=True)
            times.append(time.perf_counter() - begin)
    first, second = (sorted(times)[len(times) // 4] for times in taken)
    return second / first


def cpu_of(command: list[str], **environment: str) -> float:
    """CPU seconds of a command and all that it runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}, cwd="/"
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def apply_all(containers: int, runs: int = 3) -> tuple[float, float]:
    """CPU seconds for that many .conf that all have to change: of apply --all, of the pipeline.

    The pipeline's are those of forty, times as many as there are.
    """
    host = FakeHost(Path(tempfile.mkdtemp(prefix="bench-")))
    first = 100_000
    entry = {"name": "x", "apparmor_profile": BASE, "filler": "f" * 1300}
    host.json({str(first + number): entry for number in range(containers)})
    host.profile(BASE)
    script = host.write("/pipeline.sh", SHELL)
    ours, theirs = [], []
    for _ in range(runs):
        for number in range(containers):
            host.conf(str(first + number), "arch: amd64\nhostname: h\nmemory: 512\n")
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), "apply", "--all"]
        ours.append(cpu_of(command, PYTHONPATH=str(REPO)))
    few = min(40, containers)
    for number in range(few):
        host.conf(str(first + number), "arch: amd64\nhostname: h\nmemory: 512\n")
        command = ["bash", str(script), str(host.root), str(first + number)]
        theirs.append(cpu_of(command))
    shutil.rmtree(host.root)
    return min(ours), sum(theirs) * containers / few


def main() -> int:
    small, large = prepare(15, 1300), prepare(10_000, 1300)
    tried = prepare(15, 1300, apparmor_mode="trial", apparmor_rules=["mount fstype=nfs,"] * 20)
    ruled = prepare(15, 1300, apparmor_rules=["mount fstype=nfs,"] * 20)
    script = small.write("/pipeline.sh", SHELL)

    def hook(host: FakeHost) -> str:
        return f"env PHOENIX_APPARMOR_ROOT={host.root} {host.path('/hook')} 952 pre-start"

    commands = {
        "hookscript, 15 containers": hook(small),
        "hookscript, 10,000 containers": hook(large),
        "hookscript, trial and rules": hook(tried),
        "python3 -I -c pass": "env X=1 /usr/bin/python3 -I -c pass",
        "python3 -IS -c pass (our floor)": "env X=1 /usr/bin/python3 -IS -c pass",
        "bash, jq, grep, sed": f"env X=1 bash {script} {shlex.quote(str(small.root))} 952",
    }
    result = small.path("/result.json")
    subprocess.run(
        ["hyperfine", "-N", "-w", "5", "-r", RUNS, "--export-json", result, *commands.values()],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    times = [entry["median"] for entry in json.loads(result.read_text())["results"]]
    hook_small, hook_large, _tried, bare, _floor, shell = times
    memory = subprocess.run(
        ["/usr/bin/time", "-f", "%M", *shlex.split(hook(large))],
        check=True, capture_output=True, text=True,
    ).stderr.strip()  # fmt: skip
    changed = [after_a_change(host, hook(host)) for host in (small, large)]
    for name, seconds in zip(commands, times, strict=True):
        print(f"{name:32} {seconds * 1000:7.1f} ms")
    size = large.path("/etc/pve/phoenix_lxc_configs.json").stat().st_size
    print(f"hookscript / python3 -I -c pass   {hook_small / bare:7.2f}   (at most 1.15)")
    print(f"hookscript / shell pipeline       {hook_small / shell:7.2f}   (at most 0.75)")
    print(f"10,000 ({size / 1e6:.0f} MB) / 15 ct {hook_large / hook_small:7.2f}   (at most 1.2)")
    print(f"trial and rules / neither         {in_turn(small, tried):7.2f}   (at most 1.2)")
    print(f"rules of its own / neither        {in_turn(small, ruled):7.2f}   (at most 1.2)")
    print(f"JSON changed, 15 / python3        {changed[0] / bare:7.2f}   (at most 4)")
    print(f"JSON changed, 10,000 / python3    {changed[1] / bare:7.2f}   (at most 15)")
    print(f"peak memory, 10,000 containers    {int(memory) / 1024:7.1f} MiB (under 20 MB)")
    for host in (small, large, tried, ruled):
        shutil.rmtree(host.root)
    (ours, theirs), (many, _) = apply_all(1000), apply_all(10_000, runs=1)
    print(f"apply --all, 1,000: CPU           {ours:7.2f} s, shell pipeline {theirs:.1f} s")
    print(f"shell pipeline / apply --all      {theirs / ours:7.1f}   (at least 50)")
    print(f"apply --all, 10,000 / 1,000       {many / ours:7.1f}   (at most 12)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
