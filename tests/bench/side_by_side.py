#!/usr/bin/env python3
"""Understudy's files beside rsync, lsyncd and Syncthing, in one run on one machine: seconds, bytes, memory, traps.

side_by_side.py [--files N] [--mib M] [--many N] [--rounds R] [--only ROW ...] [--programs NAME ...] [--markdown]

Needs root, and the Debian packages rsync, lsyncd and syncthing (a program that is not installed is left out). Runs in a network
and mount namespace of its own: what its loopback device counts is what these programs sent. Every figure is what a reader of the
copy sees, measured from outside in the same way for all. rsync follows nothing by itself: its runs begin at once after each change.
"""

import argparse
import datetime
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import replicators
import traps
from replicators import NotInTime, wait_for

PATIENCE = 180  # seconds
HERE = os.path.dirname(os.path.abspath(__file__))
KIB, MIB = 1024, 1024 * 1024


def live_alone():
    if os.environ.get("SIDE_BY_SIDE_ALONE"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ["SIDE_BY_SIDE_ALONE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])


def wire_bytes():
    with open("/proc/self/net/dev") as devices:
        return next(int(line.split()[1]) for line in devices if line.strip().startswith("lo:"))


def write(path, content):
    with open(path, "wb") as f:
        f.write(content)


def make_tree(base, files, each=100):
    """Directories of `each` files of 4 KiB."""
    for i in range(files):
        if i % each == 0:
            os.makedirs(f"{base}/d{i // each:04}")
        write(f"{base}/d{i // each:04}/f{i % each:03}", os.urandom(4 * KIB))


def listing(top):
    """Path -> size and mtime of every file; what programs keep beside the data is left out."""
    found = {}
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            entries = list(os.scandir(f"{top}/{directory}"))
        except FileNotFoundError:
            continue
        for entry in entries:
            path = f"{directory}/{entry.name}"
            if entry.name.startswith((".stfolder", ".stversions")):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    found[path] = None
                    pending.append(path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    found[path] = (status.st_size, status.st_mtime_ns)
            except FileNotFoundError:
                pass
    return found


def identical(r):
    return listing(r.base) == listing(r.copy)


def await_identical(r, seconds=PATIENCE, pause=0.05):
    wait_for(lambda: identical(r), seconds, "identical", pause)


def settle(r):
    """Identical, and quiet: no byte for a moment."""
    if not r.follows:
        r.told()
    await_identical(r)
    quiet_since, before = time.monotonic(), wire_bytes()
    while time.monotonic() - quiet_since < 2:
        time.sleep(0.2)
        now = wire_bytes()
        if now - before > 2000:
            quiet_since = time.monotonic()
        before = now


def timed(r, change, done, pause=0.005):
    """Seconds from the end of `change` until `done`, and bytes on the wire."""
    before = wire_bytes()
    change()
    begun = time.monotonic()
    r.told()
    wait_for(done, PATIENCE, "the change", pause)
    return time.monotonic() - begun, wire_bytes() - before


def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def percentile(samples, p):
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * p / 100))]


def as_bytes(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


# -- rows: each takes a replicator in step and the options, and says what it saw

def first_copy(r, options):
    begun = time.monotonic()
    r.start()
    r.told()
    await_identical(r)
    return f"{time.monotonic() - begun:.2f} s"


def latency(r, options):
    samples = []
    end = time.monotonic() + options.seconds
    content = os.urandom(4 * KIB)
    directories = sorted(d for d in os.listdir(r.base) if d.startswith("d"))
    while time.monotonic() < end and len(samples) < 500:
        path = f"{random.choice(directories)}/new{len(samples)}"
        samples.append(timed(r, lambda: write(f"{r.base}/{path}", content),
                             lambda: size_of(f"{r.copy}/{path}") == len(content), 0.0002)[0])
        time.sleep(random.uniform(0.01, 0.03))
    return (f"p50 {1000 * percentile(samples, 50):.1f}, p99 {1000 * percentile(samples, 99):.1f} ms "
            f"({len(samples)} files)")


def burst(r, options):
    seconds, sent = timed(r, lambda: make_tree(f"{r.base}/burst", options.files), lambda: identical(r), 0.05)
    return f"{seconds:.2f} s, {as_bytes(sent)}"


def rename_directory(r, options):
    last = f"renamed/d{(options.files - 1) // 100:04}/f{(options.files - 1) % 100:03}"
    seconds, sent = timed(r, lambda: os.rename(f"{r.base}/burst", f"{r.base}/renamed"),
                          lambda: size_of(f"{r.copy}/{last}") >= 0 and not os.path.exists(f"{r.copy}/burst"))
    before = wire_bytes()
    settle(r)  # what is compared afterwards counts as well
    return f"{seconds:.3f} s, {as_bytes(sent + wire_bytes() - before)}"


def large_file(r, options):
    outside = f"{r.directory}/large"
    with open(outside, "wb") as f:
        for _ in range(options.mib):
            f.write(os.urandom(MIB))
    seconds, sent = timed(r, lambda: os.rename(outside, f"{r.base}/large"),
                          lambda: size_of(f"{r.copy}/large") == options.mib * MIB)
    return f"{seconds:.2f} s, {as_bytes(sent)}"


def append_to_large(r, options):
    def append():
        with open(f"{r.base}/large", "ab") as f:
            f.write(os.urandom(MIB))
    settle(r)
    if r.name == "rsync":
        r.more = ["--append"]
    size = size_of(f"{r.base}/large") + MIB
    seconds, sent = timed(r, append, lambda: size_of(f"{r.copy}/large") == size, 0.001)
    r.more = []
    return f"{1000 * seconds:.0f} ms, {as_bytes(sent)}"


def stopped_sender(r, options):
    """The watching side stands still while more happens than its queue holds."""
    if not r.follows:
        return "does not follow"

    def change():
        r.sender.signal(signal.SIGSTOP)
        make_tree(f"{r.base}/late", 12_000)
        for i in range(4_000):
            os.unlink(f"{r.base}/late/d{i // 100:04}/f{i % 100:03}")
        r.sender.signal(signal.SIGCONT)
    seconds, _ = timed(r, change, lambda: identical(r), 0.05)
    return f"{seconds:.2f} s"


def resumed(r, options):
    """Suspended as an operator does it; 100 files changed, 10 removed, a directory of 100 renamed; resumed."""
    def change():
        r.pause()
        for i in range(100):
            write(f"{r.base}/renamed/d0001/f{i:03}", os.urandom(3 * KIB))
        for i in range(10):
            os.unlink(f"{r.base}/renamed/d0002/f{i:03}")
        os.rename(f"{r.base}/renamed/d0003", f"{r.base}/renamed/moved")
    change()
    seconds, sent = timed(r, r.go_on, lambda: identical(r), 0.02)
    return f"{seconds:.2f} s, {as_bytes(sent)}"


def memory(r, options):
    sending, receiving = r.memory()
    return "nothing runs" if not r.follows else f"{sending:.0f} + {receiving:.0f} MB"


def killed_receiver(r, options):
    """A large file is copied; the receiving side is killed at 40 % and started again."""
    outside, size = f"{r.directory}/second", options.mib * MIB
    with open(outside, "wb") as f:
        for _ in range(options.mib):
            f.write(os.urandom(MIB))
    settle(r)
    before = wire_bytes()
    os.rename(outside, f"{r.base}/second")
    run = None
    if not r.follows:
        run = subprocess.Popen(["rsync", "-aHAX", "--partial", r.base + "/", r.url()], stderr=subprocess.DEVNULL)
    wait_for(lambda: wire_bytes() - before > 0.4 * size, PATIENCE, "40 %", 0.001)
    r.receiver.kill()
    if run:
        run.wait()
    r.start_receiver()
    r.told()
    wait_for(lambda: size_of(f"{r.copy}/second") == size, PATIENCE, "the whole file", 0.05)
    settle(r)
    more = (wire_bytes() - before) / size - 1
    left = listing(r.copy).keys() - listing(r.base).keys()
    return f"{max(0.0, 100 * more):.1f} % more than the file, {len(left)} files left behind"


def recording(r, options):
    """8 s at 8 kB/s, then the sending side is killed, as in a power loss."""
    if not r.follows:
        return "does not follow"
    total = 0
    with open(f"{r.base}/recording", "wb", buffering=0) as f:
        begun = time.monotonic()
        while total < 64_000:
            total += f.write(os.urandom(160))
            time.sleep(max(0, begun + total / 8000 - time.monotonic()))
        r.sender.kill()
    time.sleep(1)  # what was on its way arrives
    there = max(0, size_of(f"{r.copy}/recording"))
    os.unlink(f"{r.base}/recording")
    r.start_sender()
    return f"{(total - there) / 8000:.2f} s of 8"


def full_disk(r, options):
    """The receiving side's disk has 4 MiB left when 12 MiB come, and is freed after 5 s. A tree and a disk of its own."""
    ballast = f"{r.disk}/ballast"
    room = os.statvfs(r.disk)
    write(ballast, b"x" * (room.f_bavail * room.f_frsize - 4 * MIB))
    write(f"{r.base}/refused", os.urandom(12 * MIB))
    if not r.follows:
        return "fails, and is run again by hand"
    time.sleep(5)
    partial = os.path.exists(f"{r.copy}/refused")
    os.unlink(ballast)
    begun = time.monotonic()
    wait_for(lambda: size_of(f"{r.copy}/refused") == 12 * MIB, PATIENCE, "the file", 0.02)
    return f"{time.monotonic() - begun:.1f} s" + (", a part of it was visible" if partial else "")


def many_files(r, options):
    """The sending side restarts over `--many` files that did not change."""
    time.sleep(3)  # what is young is looked at once more
    if not r.follows:
        begun = time.monotonic()
        r.told()
        return f"{time.monotonic() - begun:.2f} s"
    r.sender.stop()
    begun = time.monotonic()
    r.start_sender()
    wait_for(lambda: r.in_step_count() > 0, 1800, "in step again", 0.02)
    return f"{time.monotonic() - begun:.2f} s, {r.memory()[0]:.0f} MB"


def all_traps(r, options):
    passed, failed = traps.run(r, wait_for, PATIENCE)
    return f"{len(passed)} of {len(passed) + len(failed)}" + (f"; not {', '.join(failed)}" if failed else "")


ROWS = {  # in this order, for each builds on what is there
    "first": ("first copy of {files} files of 4 KiB", first_copy),
    "latency": ("file closed -> on the copy, {files}-file tree", latency),
    "burst": ("{files} files of 4 KiB into 100 new directories -> identical, after the last close", burst),
    "rename": ("a directory of {files} files renamed", rename_directory),
    "large": ("a file of {mib} MiB moved in", large_file),
    "append": ("1 MiB appended to it", append_to_large),
    "stopped": ("watching side stopped while 12,000 files are made and 4,000 removed, continued -> identical",
                stopped_sender),
    "resumed": ("suspended, 100 files changed, 10 removed, a directory of 100 renamed, resumed -> identical", resumed),
    "memory": ("memory after all this, sending + receiving", memory),
    "killed": ("receiving side killed at 40 % of {mib} MiB: bytes", killed_receiver),
    "recording": ("8 s of a recording, watching side killed before it is closed: lost", recording),
    "traps": ("traps: equal in content and all metadata within 20 s", all_traps),
}
ALONE = {  # with a tree of their own
    "full": ("receiving side's disk full, freed after 5 s: 12 MiB are there after", full_disk),
    "many": ("watching side restarted over {many} unchanged files: in step after", many_files),
}


def installed(name):
    return name == "Understudy" or shutil.which(name.lower()) is not None


def made(name, directory, options):
    kinds = {"rsync": replicators.Rsync, "lsyncd": replicators.Lsyncd, "Syncthing": replicators.Syncthing}
    os.makedirs(f"{directory}/base")
    return replicators.Understudy(directory, options.bin) if name == "Understudy" else kinds[name](directory)


def run_rows(name, chosen, options, results):
    directory = tempfile.mkdtemp(prefix="understudy-beside-")
    r = made(name, directory, options)
    try:
        make_tree(r.base, options.files)
        for row in ROWS:
            if row == "first" or row in chosen:
                record(results, row, name, lambda: ROWS[row][1](r, options))
                if row != "traps":  # which leave behind what they found
                    settle(r)
    except NotInTime as why:
        print(f"{name}: after {row}: {why}; no further rows of this tree", file=sys.stderr)
    finally:
        r.stop()
        shutil.rmtree(directory, ignore_errors=True)


def run_alone(name, row, options, results):
    directory = tempfile.mkdtemp(prefix="understudy-beside-")
    r = made(name, directory, options)
    try:
        if row == "full":
            r.disk = f"{directory}/host" if name == "Understudy" else r.copy
            os.makedirs(r.disk)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", r.disk], check=True)
            make_tree(r.base, 100)
        else:
            make_many(r.base, options.many)
        r.start()
        r.told()
        await_identical(r, 3600, 1)
        record(results, row, name, lambda: ALONE[row][1](r, options))
    except NotInTime as why:
        print(f"{name}: {row}: {why}", file=sys.stderr)
    finally:
        r.stop()
        if row == "full":
            subprocess.run(["umount", "--lazy", r.disk], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def make_many(base, files, each=1000):
    for i in range(files):
        if i % each == 0:
            os.makedirs(f"{base}/d{i // each:04}")
            directory = os.open(f"{base}/d{i // each:04}", os.O_RDONLY)
        os.close(os.open(f"message{i % each:04}.wav", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
        if i % each == each - 1:
            os.close(directory)


def record(results, row, name, measure):
    print(f"{name}: {row} ...", file=sys.stderr, flush=True)
    try:
        results.setdefault(row, {})[name] = measure()
    except NotInTime as why:
        results.setdefault(row, {})[name] = str(why).splitlines()[0]
    print(f"    {results[row][name]}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=30, help="of single files")
    parser.add_argument("--only", nargs="+", choices=[*ROWS, *ALONE], metavar="ROW", default=[*ROWS, *ALONE],
                        help=", ".join([*ROWS, *ALONE]))
    parser.add_argument("--programs", nargs="+", default=["Understudy", "rsync", "lsyncd", "Syncthing"])
    parser.add_argument("--bin", default=os.path.join(HERE, "../../build/release/bin"))
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    if os.geteuid() != 0:
        sys.exit("side_by_side.py needs root: owners are part of what is compared")
    live_alone()
    programs = [name for name in options.programs if installed(name)]
    load, results = os.getloadavg()[0], {}
    for name in programs:
        if any(row in ROWS for row in options.only):
            run_rows(name, options.only, options, results)
    for row in (row for row in ALONE if row in options.only):
        for name in programs:
            run_alone(name, row, options, results)
    words = {"files": f"{options.files:,}", "mib": options.mib, "many": f"{options.many:,}"}
    for row, (title, _) in {**ROWS, **ALONE}.items():
        if row not in results:
            continue
        cells = [results[row].get(name, "") for name in programs]
        if options.markdown:
            if row == next(iter(results)):
                print("| what | " + " | ".join(programs) + " |\n" + "| --- " * (len(programs) + 1) + "|")
            print(f"| {title.format(**words)} | " + " | ".join(cells) + " |")
        else:
            print(title.format(**words))
            for name, cell in zip(programs, cells):
                print(f"    {name:11} {cell}")
    print(f"\n{datetime.date.today()}, {os.cpu_count()} CPUs, Linux {platform.release().split('-')[0]}, load average "
          f"{load:.1f} before and {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
