"""Starts and ends the systems under the bench: PostgreSQL, PgBouncer, a bare relay, Shardyard."""

import dataclasses
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


class BenchError(Exception):
    """Something that the bench needs is missing or does not work."""


@dataclass(frozen=True)
class Target:
    """One database that a pgbench connects to."""

    host: str
    port: int
    user: str
    password: str
    # Database per protocol: PgBouncer may pool one of its databases by session.
    databases: dict

    def environment(self):
        return {**os.environ, "PGPASSWORD": self.password, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def database(self, protocol="simple"):
        return self.databases.get(protocol, self.databases["simple"])

    def arguments(self, protocol="simple"):
        return ["-h", self.host, "-p", str(self.port), "-U", self.user, self.database(protocol)]


@dataclass
class System:
    """What is measured. Clients are spread evenly over its targets: one per shard's server, or the one proxy that knows the shards."""

    name: str
    targets: list
    # Processes whose CPU and memory are the proxy's; empty for direct.
    pids: list = field(default_factory=list)
    note: str = ""


def target_of(dsn):
    parts = urllib.parse.urlsplit(dsn)
    return Target(parts.hostname, parts.port, parts.username, parts.password or "", {"simple": parts.path.lstrip("/")})


def as_user(dsn, other):
    """The server and database of one DSN, as the user of another."""
    login = urllib.parse.urlsplit(other).netloc.rpartition("@")[0]
    parts = urllib.parse.urlsplit(dsn)
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def server_user():
    """The user to run servers as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise BenchError("no user postgres or nobody to run servers as")


def as_server_user():
    """Arguments of Popen that drop root."""
    user = server_user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process=None):
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise BenchError(f"{process.args[0]} ended with {process.returncode} before it was ready")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"nothing accepts on port {port} after {READY_TIMEOUT:.0f} s")


def end(process):
    """Ends one process of ours, and waits for it."""
    if process.poll() is None:
        process.send_signal(2)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_process(arguments, log):
    with open(log, "wb") as output:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **as_server_user())


def start_cluster(folder, program, shards, stack):
    """The servers that all systems share, and the proxy before them: the DSNs of the shards' primaries and the proxy's."""
    directory, port = folder / "cluster", free_port()
    up = [str(program), "dev", "up", "--shards", str(shards), "--replicas", "0", "--listen", f"127.0.0.1:{port}", "--dir", str(directory), "--detach"]
    stack.callback(lambda: subprocess.run([str(program), "dev", "down", "--dir", str(directory)], capture_output=True))
    log = folder / "shardyard.log"
    with open(log, "wb") as output:
        code = subprocess.run(up, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
    if code:
        raise BenchError(f"shardyard dev up ended with {code}:\n{log.read_text(errors='replace')[-2000:]}")
    wait_for_port(port)
    status = subprocess.run([str(program), "dev", "status", "--json", "--dir", str(directory)], capture_output=True, text=True)
    if status.returncode:
        raise BenchError(f"shardyard dev status failed: {status.stderr.strip()}")
    told = json.loads(status.stdout)
    return [shard["primary"] for shard in told["shards"]], told["dsn"]


def pgbouncer_version(program):
    text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def newest_pgbouncer():
    """The installed one, or the one that scripts/setup has built."""
    built = Path(__file__).resolve().parent.parent / "target/pgbouncer/pgbouncer"
    programs = filter(None, map(shutil.which, ["pgbouncer", "/usr/sbin/pgbouncer", str(built)]))
    return max(programs, key=pgbouncer_version, default=None)


def direct(stores):
    return System("direct", [target_of(store) for store in stores], note="each client told which shard's server to ask")


def start_pgbouncer(folder, stores, stack):
    """One PgBouncer before all the servers, a database for each: transaction pooling, its default pool of 20."""
    program = newest_pgbouncer()
    if not program:
        raise BenchError("pgbouncer is not installed")
    version, port = pgbouncer_version(program), free_port()
    pools_prepared = version >= (1, 21)
    lines, targets = ["[databases]"], []
    for number, store in enumerate(map(target_of, stores)):
        server = f"host={store.host} port={store.port} dbname={store.database()}"
        lines += [f"shard_{number} = {server} pool_mode=transaction pool_size=20", f"session_{number} = {server} pool_mode=session pool_size=100"]
        prepared = f"shard_{number}" if pools_prepared else f"session_{number}"
        targets.append(Target("127.0.0.1", port, store.user, store.password, {"simple": f"shard_{number}", "prepared": prepared}))
    (folder / "pgbouncer.users").write_text(f'"{targets[0].user}" "{targets[0].password}"\n')
    (folder / "pgbouncer.ini").write_text("\n".join([
        *lines,
        "[pgbouncer]",
        "listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =",
        "auth_type = scram-sha-256", f"auth_file = {folder / 'pgbouncer.users'}",
        "max_client_conn = 10000", "default_pool_size = 20", "pool_mode = transaction",
        "server_tls_sslmode = disable", "client_tls_sslmode = disable",
        "ignore_startup_parameters = extra_float_digits", "log_connections = 0", "log_disconnections = 0", "stats_period = 600",
        *(["max_prepared_statements = 200"] if pools_prepared else []),
    ]) + "\n")
    for name in ("pgbouncer.users", "pgbouncer.ini"):
        (folder / name).chmod(0o644)
    process = start_process([program, str(folder / "pgbouncer.ini")], folder / "pgbouncer.log")
    stack.callback(end, process)
    wait_for_port(port, process)
    note = f"PgBouncer {version[0]}.{version[1]}, transaction pooling; each client told which shard's database to ask"
    if not pools_prepared:
        note += "; prepared by session pooling, as this version cannot pool prepared statements by transaction"
    return System("pgbouncer", targets, [process.pid], note)


def start_relay(folder, program, stores, stack):
    """The physical limit: bytes copied both ways, one server connection per client."""
    targets, arguments = [], []
    for store in map(target_of, stores):
        port = free_port()
        arguments += [f"127.0.0.1:{port}", f"{store.host}:{store.port}"]
        targets.append(dataclasses.replace(store, host="127.0.0.1", port=port))
    process = start_process([str(program), *arguments], folder / "relay.log")
    stack.callback(end, process)
    for target in targets:
        wait_for_port(target.port, process)
    return System("relay", targets, [process.pid], "copies bytes, no pooling; each client told which shard's relay to ask")


def shardyard(dsn, shards):
    target = target_of(dsn)
    return System("shardyard", [target] * shards, listeners(target.port), f"{shards} shards, routing on")


def listeners(port):
    """The processes that listen on a loopback TCP port, from /proc."""
    wanted = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                wanted.add(f"socket:[{columns[9]}]")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(entry) in wanted for entry in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue
    if not found:
        print(f"bench: no process found that listens on {port}: no CPU figures", file=sys.stderr)
    return found
