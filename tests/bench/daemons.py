"""Memory and idle processor time of both daemons, as processes on loopback.

daemons.py BIN_DIRECTORY [MiB of the database]
"""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

PATIENCE = 60  # seconds
PAGE = 4096


def figure(what, ours, goal="", met=None):
    verdict = "" if met is None else "met" if met else "missed"
    print("figure", what, ours, "", "", goal, verdict, sep="\t", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"cannot measure: {what}")
        time.sleep(0.05)


class Daemon:
    def __init__(self, command, log):
        self.log = log
        self.process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT)
        wait_for(lambda: "serves on" in open(log).read(), f"{command[0]} does not start, see {log}")

    def memory(self):
        """MB resident, and MB of that which is its own (not mapped from program files)."""
        status = open(f"/proc/{self.process.pid}/status").read()
        kib = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M).group(1))
        return kib("VmRSS") * 1024 / 1e6, kib("RssAnon") * 1024 / 1e6

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def make_database(path, mib):
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA page_size={PAGE}")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, b)")
    database.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?) "
                     "INSERT INTO big SELECT i, randomblob(3900) FROM n", (mib * 256,))
    database.commit()
    database.close()
    return os.path.getsize(path) // PAGE


def measure(bin_directory, mib, directory):
    program = lambda name: os.path.join(bin_directory, name)
    path = f"{directory}/app.db"
    pages = make_database(path, mib)
    agent_port, host_port = free_port(), free_port()
    with open(f"{directory}/agent.toml", "w") as f:
        f.write(f'[server]\nname = "bench"\nlisten = "127.0.0.1:{agent_port}"\nstate_dir = "{directory}/agent"\n'
                f'[[database]]\ncatalog = "bench"\npath = "{path}"\n')
    with open(f"{directory}/understudyd.toml", "w") as f:
        f.write(f'data_dir = "{directory}/host"\n[grpc]\nlisten = "127.0.0.1:{host_port}"\n')
    agent = Daemon([program("understudy-agent"), "--config", f"{directory}/agent.toml"], f"{directory}/agent.log")
    host = None
    try:
        host = Daemon([program("understudyd"), "--config", f"{directory}/understudyd.toml"], f"{directory}/host.log")
        empty = host.memory()
        ctl = [program("understudyctl"), "--host", f"127.0.0.1:{host_port}"]
        added = subprocess.run(ctl + ["server", "add", "bench", "--address", "127.0.0.1", "--port", str(agent_port),
                                      "--mode", "all", "--protection", "compat", "--replicate-now", "--yes"],
                               capture_output=True, text=True)
        if added.returncode != 0:
            sys.exit(f"cannot measure: server add: {added.stdout}{added.stderr}")
        wait_for(lambda: "bench is in step" in open(host.log).read(), f"no copy, see {host.log}")
        time.sleep(3)  # the first copy's buffers are returned, the first slow timers have run
        before = agent.cpu(), host.cpu()
        seconds = 10
        time.sleep(seconds)
        idle = [100 * (after - b) / seconds for after, b in zip((agent.cpu(), host.cpu()), before)]
        total, own = agent.memory()
        allowed = 25 + 16 * pages / 1e6
        figure(f"agent, database of {pages} pages: memory", f"{total:.1f} MB resident, {own:.1f} MB of it its own",
               f"<= {allowed:.1f} MB (25 + 16 bytes per page)", total <= allowed)
        total, own = host.memory()
        figure("host with one primary: memory",
               f"{total:.1f} MB resident, {own:.1f} MB of it its own ({empty[0]:.1f} MB without a primary)",
               "<= 66 MB (64 + 2 per primary)", total <= 66)
        figure("agent, idle for 10 s: processor", f"{idle[0]:.2f} % of a core")
        figure("host with one primary, idle for 10 s: processor", f"{idle[1]:.2f} % of a core")
    finally:
        if host:
            host.stop()
        agent.stop()


def main():
    directory = tempfile.mkdtemp(prefix="understudy-bench-")
    try:
        measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 64, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
