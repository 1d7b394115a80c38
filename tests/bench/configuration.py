"""Mode `configuration`: commit -> visible in the copy (which comes after durable), and the bytes that did not travel.

configuration.py BIN_DIRECTORY [seconds [rows of the named table]]

An application writes to two tables, `call` in every transaction and `users` in one of ten, on loopback; one process
commits and looks into the copy, which is on the same disk.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

import daemons

RATE = 100  # transactions a second
EACH = 10  # of which one writes to the named table


def percentile(samples, p):
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * p / 100))]


def measure(bin_directory, seconds, rows, directory):
    program = lambda name: os.path.join(bin_directory, name)
    path = f"{directory}/app.db"
    app = sqlite3.connect(path, isolation_level=None)
    app.executescript("PRAGMA journal_mode=WAL; CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, seen);"
                      "CREATE TABLE call(id INTEGER PRIMARY KEY, at, who TEXT, what BLOB); CREATE INDEX by_who ON call(who);")
    app.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?) "
                "INSERT INTO users SELECT i, 'user number ' || i, 0 FROM n", (rows,))
    agent_port, host_port = daemons.free_port(), daemons.free_port()
    with open(f"{directory}/agent.toml", "w") as f:
        f.write(f'[server]\nname = "bench"\nlisten = "127.0.0.1:{agent_port}"\nstate_dir = "{directory}/agent"\n'
                f'[[database]]\ncatalog = "bench"\npath = "{path}"\nconfiguration_tables = ["users"]\n')
    with open(f"{directory}/understudyd.toml", "w") as f:
        f.write(f'data_dir = "{directory}/host"\n[grpc]\nlisten = "127.0.0.1:{host_port}"\n')
    agent = daemons.Daemon([program("understudy-agent"), "--config", f"{directory}/agent.toml"], f"{directory}/agent.log")
    host = None
    try:
        host = daemons.Daemon([program("understudyd"), "--config", f"{directory}/understudyd.toml"],
                              f"{directory}/host.log")
        ctl = [program("understudyctl"), "--host", f"127.0.0.1:{host_port}"]
        added = subprocess.run(ctl + ["server", "add", "bench", "--address", "127.0.0.1", "--port", str(agent_port),
                                      "--mode", "configuration", "--replicate-now", "--yes"],
                               capture_output=True, text=True)
        if added.returncode != 0:
            sys.exit(f"cannot measure: server add: {added.stdout}{added.stderr}")
        daemons.wait_for(lambda: "named tables are in step" in open(host.log).read(), f"no copy, see {host.log}")
        copy = sqlite3.connect(f"file:{directory}/host/servers/bench/root{path}?mode=ro", uri=True,
                               isolation_level=None)
        samples = []
        begun = time.monotonic()
        for i in range(int(seconds * RATE)):
            time.sleep(max(0, begun + i / RATE - time.monotonic()))
            app.execute("BEGIN")
            app.execute("INSERT INTO call(at, who, what) VALUES(?, 'caller ' || abs(random() % 1000), randomblob(300))", (i,))
            named = i % EACH == 0
            if named:
                app.execute("UPDATE users SET seen=? WHERE id=?", (i + 1, i % rows + 1))
            app.execute("COMMIT")
            if not named:
                continue
            committed = time.monotonic()
            while copy.execute("SELECT seen FROM users WHERE id=?", (i % rows + 1,)).fetchone()[0] != i + 1:
                if time.monotonic() > committed + daemons.PATIENCE:
                    sys.exit("cannot measure: a row never came")
                time.sleep(0.0002)  # leaves the processor to those who are measured
            samples.append(1000 * (time.monotonic() - committed))
        time.sleep(2.5)  # what was saved is told every second
        status = json.loads(subprocess.run(ctl + ["status", "bench", "-o", "json"], capture_output=True,
                                           text=True).stdout)
        said = status["servers"][0]["databases"][0]
        word = lambda name: int(next((said[k] for k in said if k.lower().replace("_", "") == name), 0))
        received, saved = word("tablesreceivedbytes"), word("tablessavedbytes")
        daemons.figure(f"mode configuration, named table of {rows} rows, {RATE} tx/s: commit -> visible in the copy",
                       f"p50 {percentile(samples, 50):.1f} ms, p99 {percentile(samples, 99):.1f} ms")
        daemons.figure(f"mode configuration, one transaction of {EACH} writes to the named table: bytes",
                       f"{received / 1e3:.0f} kB received, {saved / 1e3:.0f} kB of pages not sent "
                       f"({100 * saved / max(1, saved + received):.1f} % saved)")
    finally:
        if host:
            host.stop()
        agent.stop()


def main():
    directory = tempfile.mkdtemp(prefix="understudy-bench-")
    try:
        measure(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 20, int(sys.argv[3]) if len(sys.argv) > 3 else 100,
                directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
