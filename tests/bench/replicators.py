"""Programs that keep a copy of a tree, as processes on loopback: Understudy, rsync, lsyncd and Syncthing of Debian 12.

Each `Replicator` has a tree (`base`) and its copy (`copy`), a sending side that watches the tree, and a receiving side. Their
settings are what makes them fast and faithful: lsyncd without delay, with rsync -aHAX --sparse; Syncthing with the shortest
delay it accepts (1 s). None of the others is asked to sync what it writes except Syncthing, which does by default.
"""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
import xml.etree.ElementTree

import daemons


class NotInTime(Exception):
    pass


def wait_for(condition, seconds, what, pause=0.01):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {seconds} s")
        time.sleep(pause)


class Group:
    """A daemon and all that it starts, in a session of its own."""

    def __init__(self, command, log, environment=None):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            start_new_session=True, env={**os.environ, **(environment or {})})

    def said(self, text):
        with open(self.log, errors="replace") as log:
            return log.read().count(text)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def members(self):
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat") as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[3]) == self.process.pid:
                        yield int(name)
            except OSError:
                pass  # ended meanwhile

    def memory(self):
        """MB, what is shared counted in parts."""
        total = 0
        for pid in self.members():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as maps:
                    total += int(re.search(r"^Pss:\s+(\d+)", maps.read(), re.M).group(1))
            except (OSError, AttributeError):
                pass
        return total * 1024 / 1e6

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        self.kill()


class Replicator:
    name = ""
    follows = True  # False: works when it is told to

    def __init__(self, directory):
        self.directory = directory
        self.base, self.copy = f"{directory}/base", f"{directory}/copy"
        self.sender = self.receiver = None

    def prepare(self):
        """Settings and directories; the tree is there already."""

    def start_sender(self):
        pass

    def start_receiver(self):
        pass

    def start(self):
        self.prepare()
        self.start_receiver()
        self.start_sender()

    def told(self):
        """After a change: what does not follow by itself works now."""

    def in_step_count(self):
        """How often the sending side said since its start that it has compared everything; None: it never says."""
        return None

    def pause(self):
        """As an operator does it."""

    def go_on(self):
        pass

    def memory(self):
        return [side.memory() if side else 0 for side in (self.sender, self.receiver)]

    def stop(self):
        for side in (self.sender, self.receiver):
            if side:
                side.stop()


class Understudy(Replicator):
    name = "Understudy"

    def __init__(self, directory, bin_directory):
        super().__init__(directory)
        self.bin = bin_directory
        self.copy = f"{directory}/host/servers/bench/root{self.base}"
        self.seen = 0

    def prepare(self):
        self.agent_port, self.host_port = daemons.free_port(), daemons.free_port()
        with open(f"{self.directory}/agent.toml", "w") as f:
            f.write(f'[server]\nname = "bench"\nlisten = "127.0.0.1:{self.agent_port}"\n'
                    f'state_dir = "{self.directory}/agent"\n[[files]]\nbase = "{self.base}"\n'
                    'include = [{ subdirectory = ".", types = ["*"], recursive = true }]\n')
        with open(f"{self.directory}/understudyd.toml", "w") as f:
            f.write(f'data_dir = "{self.directory}/host"\n[grpc]\nlisten = "127.0.0.1:{self.host_port}"\n')

    def start_sender(self):
        self.seen = self.receiver.said("entries")
        self.sender = Group([f"{self.bin}/understudy-agent", "--config", f"{self.directory}/agent.toml"],
                            f"{self.directory}/agent.log")

    def start_receiver(self):
        self.receiver = Group([f"{self.bin}/understudyd", "--config", f"{self.directory}/understudyd.toml"],
                              f"{self.directory}/host.log")

    def start(self):
        self.prepare()
        self.start_receiver()
        self.start_sender()
        wait_for(lambda: self.receiver.said("serves on") and self.sender.said("serves on"), 20, "Understudy starts")
        self.ctl("server", "add", "bench", "--address", "127.0.0.1", "--port", str(self.agent_port), "--mode", "all",
                 "--protection", "compat", "--replicate-now", "--set", "manual_only=true", "--yes")

    def ctl(self, *arguments):
        done = subprocess.run([f"{self.bin}/understudyctl", "--host", f"127.0.0.1:{self.host_port}", *arguments],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise NotInTime(f"understudyctl {arguments[0]}: {done.stdout}{done.stderr}")

    def in_step_count(self):
        return self.receiver.said("entries") - self.seen

    def pause(self):
        self.ctl("suspend", "bench")

    def go_on(self):
        self.ctl("resume", "bench")


class RsyncDaemon(Replicator):
    """The receiving side of rsync and of lsyncd."""

    def prepare(self):
        os.makedirs(self.copy, exist_ok=True)
        self.port = daemons.free_port()
        with open(f"{self.directory}/rsyncd.conf", "w") as f:
            f.write(f"uid = 0\ngid = 0\nuse chroot = no\nmunge symlinks = no\n[copy]\npath = {self.copy}\nread only = no\n")

    def url(self):
        return f"rsync://127.0.0.1:{self.port}/copy/"

    def start_receiver(self):
        self.receiver = Group(["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={self.port}",
                               f"--config={self.directory}/rsyncd.conf"], f"{self.directory}/rsyncd.log")

        def answers():
            return subprocess.run(["rsync", self.url()], capture_output=True).returncode == 0
        wait_for(answers, 20, "rsync --daemon starts")


class Rsync(RsyncDaemon):
    name = "rsync"
    follows = False
    more = []  # further options of one run

    def told(self):
        done = subprocess.run(["rsync", "-aHAX", "--sparse", "--delete", *self.more, self.base + "/", self.url()],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise NotInTime(f"rsync: {done.stderr}")


class Lsyncd(RsyncDaemon):
    name = "lsyncd"

    def start_sender(self):
        with open(f"{self.directory}/lsyncd.lua", "w") as f:
            f.write(f'settings {{ nodaemon = true, logfile = "{self.directory}/lsyncd.log", statusFile = "/dev/null" }}\n'
                    f'sync {{ default.rsync, source = "{self.base}", target = "{self.url()}", delay = 0,\n'
                    '  rsync = { archive = true, hard_links = true, acls = true, xattrs = true, sparse = true } }\n')
        if os.path.exists(f"{self.directory}/lsyncd.log"):
            os.unlink(f"{self.directory}/lsyncd.log")
        self.sender = Group(["lsyncd", f"{self.directory}/lsyncd.lua"], f"{self.directory}/lsyncd.out")

    def in_step_count(self):
        try:
            with open(f"{self.directory}/lsyncd.log") as log:
                return len(re.findall(r"Startup of .* finished", log.read()))
        except OSError:
            return 0

    def pause(self):
        self.sender.stop()

    def go_on(self):
        self.start_sender()


class Syncthing(Replicator):
    name = "Syncthing"
    key = "side-by-side"

    def prepare(self):
        os.makedirs(self.copy, exist_ok=True)
        self.homes = [f"{self.directory}/sending", f"{self.directory}/receiving"]
        self.ports = [(daemons.free_port(), daemons.free_port()) for _ in self.homes]
        self.ids = [self.generated(home) for home in self.homes]
        for i, path in enumerate((self.base, self.copy)):
            os.makedirs(f"{path}/.stfolder", exist_ok=True)
            self.configure(i, path, "sendonly" if i == 0 else "receiveonly")

    def generated(self, home):
        subprocess.run(["syncthing", "generate", "--no-default-folder", f"--home={home}"], check=True,
                       capture_output=True, env={**os.environ, "STNOUPGRADE": "1"})
        return subprocess.run(["syncthing", "--device-id", f"--home={home}"], check=True, capture_output=True,
                              text=True).stdout.strip()

    def configure(self, i, path, kind):
        file = f"{self.homes[i]}/config.xml"
        tree = xml.etree.ElementTree.parse(file)
        root = tree.getroot()
        for old in root.findall("folder") + root.findall("device"):
            root.remove(old)
        element = xml.etree.ElementTree.SubElement
        folder = element(root, "folder", id="tree", label="tree", path=path, type=kind, rescanIntervalS="3600",
                         fsWatcherEnabled="true", fsWatcherDelayS="1", ignorePerms="false", autoNormalize="false")
        for j, device in enumerate(self.ids):
            element(folder, "device", id=device)
            entry = element(root, "device", id=device, name=str(j), compression="metadata")
            element(entry, "address").text = f"tcp://127.0.0.1:{self.ports[j][0]}"
        gui = root.find("gui")
        gui.find("address").text = f"127.0.0.1:{self.ports[i][1]}"
        (gui.find("apikey") if gui.find("apikey") is not None else element(gui, "apikey")).text = self.key
        for name, value in {"listenAddress": f"tcp://127.0.0.1:{self.ports[i][0]}", "globalAnnounceEnabled": "false",
                            "localAnnounceEnabled": "false", "relaysEnabled": "false", "natEnabled": "false",
                            "startBrowser": "false", "urAccepted": "-1", "crashReportingEnabled": "false",
                            "stunKeepaliveStartS": "0", "autoUpgradeIntervalH": "0", "reconnectionIntervalS": "1",
                            "setLowPriority": "false"}.items():
            root.find("options").find(name).text = value
        tree.write(file)

    def node(self, i):
        started = Group(["syncthing", "serve", "--no-browser", "--no-restart", f"--home={self.homes[i]}"],
                        f"{self.homes[i]}.log", {"STNOUPGRADE": "1"})
        wait_for(lambda: self.ask(i, "system/ping"), 30, "Syncthing starts")
        return started

    def start_sender(self):
        self.sender = self.node(0)

    def start_receiver(self):
        self.receiver = self.node(1)

    def ask(self, i, what, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[i][1]}/rest/{what}", method=method,
                                         headers={"X-API-Key": self.key})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read() or b"{}"
        except OSError:
            return None

    def in_step_count(self):
        def status(i):
            return json.loads(self.ask(i, "db/status?folder=tree") or b"{}")
        ours, theirs = status(0), status(1)
        done = ours.get("state") == theirs.get("state") == "idle" and theirs.get("needTotalItems") == 0 \
            and ours.get("globalFiles") == theirs.get("globalFiles") and ours.get("localFiles", 0) > 0
        connected = json.loads(self.ask(0, "system/connections") or b"{}").get("connections", {})
        return int(done and connected.get(self.ids[1], {}).get("connected", False))

    def pause(self):
        self.ask(0, f"system/pause?device={self.ids[1]}", "POST")

    def go_on(self):
        self.ask(0, f"system/resume?device={self.ids[1]}", "POST")
