"""Starts and ends the systems under the bench: PostgreSQL, PgBouncer, a bare relay, Shardyard."""

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

PASSWORD = "bench"
READY_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


class BenchError(Exception):
    """Something that the bench needs is missing or does not work."""


@dataclass
class System:
    """What pgbench connects to."""

    name: str
    host: str
    port: int
    user: str
    password: str
    # Database per protocol: PgBouncer pools one of its databases by session.
    databases: dict = field(default_factory=dict)
    # Processes whose CPU and memory are the proxy's; empty for direct.
    pids: list = field(default_factory=list)
    # Superuser DSNs of the servers that hold the rows.
    stores: list = field(default_factory=list)
    note: str = ""

    def database(self, protocol="simple"):
        return self.databases.get(protocol, self.databases["simple"])

    def environment(self):
        return {**os.environ, "PGPASSWORD": self.password, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def pgbench_arguments(self, protocol="simple"):
        return ["-h", self.host, "-p", str(self.port), "-U", self.user, self.database(protocol)]


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


def postgres_program(name):
    found = shutil.which(name)
    if found:
        return found
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    raise BenchError(f"{name} is not installed")


def start_process(arguments, log):
    with open(log, "wb") as output:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **as_server_user())


def start_postgres(folder, stack):
    """One plain server; the settings are those that `shardyard dev up` gives its shards."""
    data, port = folder / "plain", free_port()
    password_file = folder / "password"
    password_file.write_text(PASSWORD + "\n")
    password_file.chmod(0o644)
    initdb = [postgres_program("initdb"), "-D", data, "-U", "bench", "-A", "scram-sha-256", "--pwfile", password_file, "--no-sync", "-E", "UTF8", "--locale=C"]
    made = subprocess.run(initdb, capture_output=True, text=True, **as_server_user())
    if made.returncode:
        raise BenchError(f"initdb failed: {made.stderr.strip()}")
    settings = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 300,
        "shared_buffers": "128MB", "fsync": "off", "autovacuum": "off", "jit": "off",
    }
    arguments = [postgres_program("postgres"), "-D", str(data)]
    for name, value in settings.items():
        arguments += ["-c", f"{name}={value}"]
    process = start_process(arguments, folder / "plain.log")
    stack.callback(end, process)
    wait_for_port(port, process)
    store = f"postgres://bench:{PASSWORD}@127.0.0.1:{port}/postgres"
    return System("direct", "127.0.0.1", port, "bench", PASSWORD, {"simple": "postgres"}, stores=[store])


def pgbouncer_version(program):
    text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def start_pgbouncer(folder, plain, stack):
    """PgBouncer before the plain server: transaction pooling, its default pool of 20."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if not program:
        raise BenchError("pgbouncer is not installed")
    version, port = pgbouncer_version(program), free_port()
    pools_prepared = version >= (1, 21)
    server = f"host=127.0.0.1 port={plain.port} dbname={plain.database()}"
    (folder / "pgbouncer.users").write_text(f'"bench" "{PASSWORD}"\n')
    (folder / "pgbouncer.ini").write_text("\n".join([
        "[databases]",
        f"bench = {server} pool_mode=transaction pool_size=20",
        f"bench_session = {server} pool_mode=session pool_size=100",
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
    databases = {"simple": "bench", "prepared": "bench" if pools_prepared else "bench_session"}
    note = f"PgBouncer {version[0]}.{version[1]}, transaction pooling"
    if not pools_prepared:
        note += "; prepared by session pooling, as this version cannot pool prepared statements by transaction"
    return System("pgbouncer", "127.0.0.1", port, "bench", PASSWORD, databases, [process.pid], note=note)


def start_relay(folder, program, plain, stack):
    """The physical limit: bytes copied both ways, one server connection per client."""
    port = free_port()
    process = start_process([str(program), f"127.0.0.1:{port}", f"127.0.0.1:{plain.port}"], folder / "relay.log")
    stack.callback(end, process)
    wait_for_port(port, process)
    return System("relay", "127.0.0.1", port, "bench", PASSWORD, dict(plain.databases), [process.pid], note="copies bytes, no pooling")


def start_shardyard(folder, program, shards, stack):
    """The proxy before a dev cluster without replicas."""
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
    dsn = urllib.parse.urlsplit(told["dsn"])
    stores = [shard["primary"] for shard in told["shards"]]
    note = f"{shards} shards, routing on"
    return System("shardyard", "127.0.0.1", port, dsn.username, dsn.password or "", {"simple": dsn.path.lstrip("/")}, listeners(port), stores, note)


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
