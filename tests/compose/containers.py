"""Services of docker-compose.yml in namespaces of this machine, without Docker.

A container has its own host name, network, processes and files: an overlay over this host's, with
the user of the image, who has no rights, the repository at /app and the volumes of its service.
Commands, environment and volumes are those of docker-compose.yml. What it starts, it ends by
process id.
"""

import shutil
import subprocess
from pathlib import Path

import psutil
import yaml

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
UID = 10001  # of the image's trainhub
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter", "setpriv")
AS_TRAINHUB = [
    "setpriv",
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
]

# $1: the directory of the container; $2: its address; $3: its host name; $4: its lower directory;
# $5: volumes, source:target; the rest is its command. "go" is read once
# its network is there; "up" is told before the command.
_SET_UP = r"""
set -eu
folder=$1 address=$2 name=$3 lower=$4 volumes=$5
shift 5
echo ready
read -r go
mount --make-rprivate /
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
hostname "$name"
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay \
  -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
rm -f etc/munge/munge.key
grep -q ^trainhub: etc/passwd || echo "trainhub:x:$UID:$UID::/home/trainhub:/bin/sh" >>etc/passwd
grep -q ^trainhub: etc/group || echo "trainhub:x:$UID:" >>etc/group
mount --bind "$HOSTS" etc/hosts
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
for volume in $volumes; do
  mkdir -p "./${volume#*:}"
  mount --bind "${volume%:*}" "./${volume#*:}"
done
# A Slurm that is older than the image's refuses this file, and needs none.
case $(chroot . slurmd -V) in
  *" 22."* | *" 23."*) mount --bind /dev/null app/examples/slurm/cgroup.conf ;;
esac
mount --rbind /sys sys
exec unshare --pid --fork --kill-child --root=. --wd=/app \
  sh -c 'mount -t proc proc /proc && echo up && "$@" >&2; exit $?' sh "$@"
"""


def missing():
    """Why there can be no containers here; "" if there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    probe = ["unshare", "--mount", "--net", "ip", "link", "add", "br0", "type", "bridge"]
    if subprocess.run(probe, capture_output=True).returncode:
        return "no right to make namespaces and bridges"
    return ""


class Containers:
    """All containers of a project; ``lower``: the root directory of their system."""

    def __init__(self, folder: Path, *, lower: str = "/"):
        self.folder = folder
        self.lower = lower
        self.hosts = folder / "hosts"  # of all, as Docker's name service
        self.addresses: dict[str, str] = {}
        self._taken = 1
        self._started: dict[str, subprocess.Popen] = {}
        self._bridge: subprocess.Popen | None = None

    def volume(self, name):
        path = self.folder / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            shutil.chown(path, UID, UID)
        return path

    def start(self, *names, commands=None):
        """The containers of these services, each at a new address. ``commands``: others than
        theirs."""
        if self._bridge is None:
            self._start_bridge()
        for name in names:
            self._taken += 1
            self.addresses[name] = f"10.77.0.{self._taken}"
        lines = [f"{address} {name}\n" for name, address in self.addresses.items()]
        self.hosts.write_text("".join(["127.0.0.1 localhost\n", *lines]))
        for name in names:
            self._start(name, (commands or {}).get(name, SERVICES[name]["command"]))

    def _start_bridge(self):
        script = "ip link add br0 type bridge && ip link set br0 up && echo ready && read end"
        self._bridge = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._bridge.stdout.readline() == "ready\n"

    def _start(self, name, command):
        folder = self.folder / "containers" / name
        folder.mkdir(parents=True, exist_ok=True)
        service = SERVICES[name]
        volumes = [f"{ROOT}:app"]
        for volume in service["volumes"]:
            source, target = volume.split(":")
            volumes.append(f"{self.volume(source)}:{target.strip('/')}")
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *("unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c", _SET_UP, "sh"),
                    *(str(folder), self.addresses[name], service.get("hostname", name)),
                    *(self.lower, " ".join(volumes)),
                    *(*AS_TRAINHUB, *self._environment(name), *command),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": PATH, "UID": str(UID), "HOSTS": str(self.hosts)},
                text=True,
            )
        self._started[name] = process
        assert process.stdout.readline() == "ready\n", self.log(name)
        self._connect(name, process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "up\n", self.log(name)

    def _connect(self, name, pid):
        port = f"v{self.addresses[name].rpartition('.')[2]}"
        bridge = f"--net=/proc/{self._bridge.pid}/ns/net"
        for arguments in (
            f"link add {port} type veth peer name eth0 netns {pid}",
            f"link set {port} master br0 up",
        ):
            subprocess.run(["nsenter", bridge, "ip", *arguments.split()], check=True)

    def _environment(self, name):
        values = {"PATH": PATH, **SERVICES[name]["environment"]}
        return ["env", "-i", *(f"{key}={value}" for key, value in values.items())]

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def run(self, name, *command, check=True, timeout=60):
        """What ``docker compose exec`` does."""
        inner = psutil.Process(self._started[name].pid).children()[0].pid
        return subprocess.run(
            [
                *("nsenter", f"--target={inner}", "--mount", "--uts", "--ipc", "--net", "--pid"),
                *(f"--root=/proc/{inner}/root", f"--wd=/proc/{inner}/root/app"),
                *(*AS_TRAINHUB, *self._environment(name), *command),
            ],
            check=check,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def kill(self, name):
        """With all that runs in it."""
        process = self._started.pop(name)
        for child in psutil.Process(process.pid).children():
            child.kill()  # the first of its process namespace
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()
        wait_until(lambda: not self._has_port(name), seconds=30)

    def _has_port(self, name):
        port = f"v{self.addresses[name].rpartition('.')[2]}"
        bridge = f"--net=/proc/{self._bridge.pid}/ns/net"
        command = ["nsenter", bridge, "ip", "link", "show", port]
        return subprocess.run(command, capture_output=True).returncode == 0

    def stop(self):
        for name in list(self._started):
            self.kill(name)
        if self._bridge is not None:
            self._bridge.communicate("end\n", timeout=30)
