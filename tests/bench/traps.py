"""What copies of trees get wrong: each trap is a file or directory that is prepared, copied, and then changed in a way that a
watcher or a comparison by size and time overlooks. Equal means content, type, mode, owner, mtime, links and attributes."""

import hashlib
import mmap
import os
import stat
import time

WITHIN = 20  # seconds
TIMES = "time of a directory"  # the others leave times of directories out of account: few programs keep them
EARLIER = 1_700_000_000_000_000_000  # some time in the past, in ns


def write(path, content, mode="wb"):
    with open(path, mode) as f:
        f.write(content)


def keep_time(path, change):
    before = os.stat(path)
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def two_files(d):
    write(f"{d}/a", b"aaaa")
    write(f"{d}/b", b"bbbb")
    for name in "ab":
        os.utime(f"{d}/{name}", ns=(EARLIER, EARLIER))


def exchange(d):
    os.rename(f"{d}/a", f"{d}/x")
    os.rename(f"{d}/b", f"{d}/a")
    os.rename(f"{d}/x", f"{d}/b")


def rename_up(d):
    os.rename(f"{d}/one/two/three", f"{d}/three")
    os.rmdir(f"{d}/one/two")
    os.rename(f"{d}/one", f"{d}/three/one")


def through_mapping(d):
    with open(f"{d}/f", "r+b") as f, mmap.mmap(f.fileno(), 0) as mapping:
        mapping[0:4] = b"zzzz"
        mapping.flush()
        os.utime(f"{d}/f", ns=(EARLIER, EARLIER))


def deep_names(d):
    for _ in range(12):
        d = f"{d}/{'n' * 250}"
        os.mkdir(d)
    write(f"{d}/f", b"deep")


def new_directories(d):
    for i in range(200):
        os.makedirs(f"{d}/{i}/x/y")
        write(f"{d}/{i}/x/y/f", b"new")


def to_link(d):
    os.unlink(f"{d}/dir/f")
    os.rmdir(f"{d}/dir")
    os.symlink("elsewhere", f"{d}/dir")


def directory_to_file(d):
    os.unlink(f"{d}/dir/f")
    os.rmdir(f"{d}/dir")
    write(f"{d}/dir", b"a file now")


def with_directory(d):
    os.mkdir(f"{d}/dir")
    write(f"{d}/dir/f", b"in it")
    os.mkdir(f"{d}/elsewhere")
    write(f"{d}/elsewhere/f", b"must stay")


def one(d):
    write(f"{d}/f", b"aaaa" * 1024)
    os.utime(f"{d}/f", ns=(EARLIER, EARLIER))


def linked(d):
    write(f"{d}/f", b"aaaa")
    os.link(f"{d}/f", f"{d}/g")


def nothing(d):
    pass


TRAPS = {  # name: (prepare, change), each in a directory of its own
    "same size and second": (one, lambda d: keep_time(f"{d}/f", lambda: write(f"{d}/f", b"bbbb" * 1024))),
    "renamed over an equal size": (two_files, lambda d: os.rename(f"{d}/b", f"{d}/a")),
    "names exchanged": (two_files, exchange),
    "truncated by path": (one, lambda d: os.truncate(f"{d}/f", 10)),
    "truncated to nothing": (one, lambda d: os.truncate(f"{d}/f", 0)),
    "written through a mapping": (one, through_mapping),
    "hard links kept": (nothing, linked),
    "hard link changed by its other name": (linked, lambda d: write(f"{d}/g", b"bbbb", "r+b")),
    "hard link parted": (linked, lambda d: (write(f"{d}/new", b"aaaa"), os.rename(f"{d}/new", f"{d}/g"))),
    "mode alone": (one, lambda d: os.chmod(f"{d}/f", 0o4751)),
    "owner alone": (one, lambda d: os.chown(f"{d}/f", 1234, 4321)),
    "time of a file alone": (one, lambda d: os.utime(f"{d}/f", ns=(EARLIER + 7, EARLIER + 7))),
    TIMES: (with_directory, lambda d: os.utime(f"{d}/dir", ns=(EARLIER, EARLIER))),
    "mode of a directory": (with_directory, lambda d: os.chmod(f"{d}/dir", 0o2750)),
    "extended attribute": (one, lambda d: os.setxattr(f"{d}/f", "user.note", b"x")),
    "extended attribute gone": (lambda d: (one(d), os.setxattr(f"{d}/f", "user.note", b"x")),
                                lambda d: os.removexattr(f"{d}/f", "user.note")),
    "empty directory": (nothing, lambda d: os.mkdir(f"{d}/empty")),
    "directory to file": (with_directory, directory_to_file),
    "file to directory": (one, lambda d: (os.unlink(f"{d}/f"), os.mkdir(f"{d}/f"), write(f"{d}/f/g", b"x"))),
    "directory to symlink": (with_directory, to_link),
    "symlink to nowhere": (nothing, lambda d: os.symlink("../../../nowhere", f"{d}/l")),
    "symlink changed": (lambda d: os.symlink("a", f"{d}/l"),
                        lambda d: (os.symlink("b", f"{d}/m"), os.rename(f"{d}/m", f"{d}/l"))),
    "directory moved up, its parent into it": (lambda d: os.makedirs(f"{d}/one/two/three/four"), rename_up),
    "files in directories made a moment ago": (nothing, new_directories),
    "name with a newline": (nothing, lambda d: write(f"{d}/a\nb", b"x")),
    "name with a backslash": (nothing, lambda d: write(f"{d}/a\\b*?[c]", b"x")),
    "name that is not UTF-8": (nothing, lambda d: write(os.fsencode(d) + b"/caf\xe9", b"x")),
    "name in two Unicode forms": (nothing, lambda d: (write(f"{d}/\u00e9", b"1"), write(f"{d}/e\u0301", b"2"))),
    "path of 3,000 bytes": (nothing, deep_names),
    "holes": (nothing, lambda d: (write(f"{d}/f", b""), os.truncate(f"{d}/f", 1 << 30), write(f"{d}/f", b"x", "r+b"))),
    "deleted and made anew": (one, lambda d: (os.unlink(f"{d}/f"), write(f"{d}/f", b"other"))),
    "appended while open": (one, lambda d: OPEN.append(open(f"{d}/f", "ab", buffering=0)) or OPEN[-1].write(b"more")),
}
OPEN = []  # files that a trap leaves open


def described(top, of_directories):
    """Path -> everything that must be equal. Hard links by the first of their names; times of directories where asked."""
    found, first = {}, {}
    pending = [b""]
    while pending:
        directory = pending.pop()
        try:
            names = sorted(os.listdir(top + directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in (directory + b"/" + name for name in names):
            try:
                s = os.lstat(top + path)
                content = b""
                if stat.S_ISLNK(s.st_mode):
                    content = os.readlink(top + path)
                elif stat.S_ISREG(s.st_mode):
                    content = digest(top + path, s)
                attributes = {} if stat.S_ISLNK(s.st_mode) else {
                    name: os.getxattr(top + path, name) for name in os.listxattr(top + path) if name.startswith("user.")}
            except OSError:
                continue
            if stat.S_ISDIR(s.st_mode):
                pending.append(path)
            group = first.setdefault(s.st_ino, path)
            timed = stat.S_ISREG(s.st_mode) or (of_directories and stat.S_ISDIR(s.st_mode))
            found[path] = (s.st_mode, s.st_uid, s.st_gid, group, content, sorted(attributes.items()),
                           s.st_mtime_ns if timed else None)
    return found


def digest(path, status):
    if status.st_size > 1 << 20:  # the one with holes: its beginning, its size, and that they are holes
        with open(path, "rb") as f:
            return f.read(4096), status.st_size, status.st_blocks * 512 < status.st_size // 2
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).digest()


def run(r, wait_for, patience):
    """Names of the traps that ended equal, and of those that did not."""
    directory = {name: f"{r.base}/traps/{i:02}" for i, name in enumerate(TRAPS)}
    copied = {name: f"{r.copy}/traps/{i:02}" for i, name in enumerate(TRAPS)}

    def equal(name):
        return described(os.fsencode(directory[name]), name == TIMES) == described(os.fsencode(copied[name]), name == TIMES)

    def equal_ones():
        deadline = time.monotonic() + WITHIN
        r.told()
        left = set(TRAPS)
        while left and time.monotonic() < deadline:
            left = {name for name in left if not equal(name)}
            time.sleep(0.2)
        return set(TRAPS) - left

    for name, (prepare, _) in TRAPS.items():
        os.makedirs(directory[name])
        prepare(directory[name])
    prepared = equal_ones()
    for name, (_, change) in TRAPS.items():
        change(directory[name])
    ended = equal_ones()
    while OPEN:
        OPEN.pop().close()
    passed = [name for name in TRAPS if name in prepared and name in ended]
    return passed, [name for name in TRAPS if name not in passed]
