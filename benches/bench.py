#!/usr/bin/env python3
"""`make bench`: Shardyard against direct PostgreSQL, PgBouncer and a bare relay, on this machine, interleaved.

All stand before the same servers, each of which holds one shard, and are asked the same: a client wants keys of one shard. What cannot route is
told the server by its client. In the workload point-select-spread a client wants any key, which only Shardyard can be asked for.

Environment: BENCH_SECONDS (5) per cell, BENCH_ROUNDS (3), BENCH_CLIENTS (1,16,64), BENCH_PROTOCOLS (simple,extended,prepared),
BENCH_SYSTEMS (direct,relay,pgbouncer,shardyard), BENCH_ROWS (100000), BENCH_SHARDS (4), BENCH_IDLE (1000,5000; empty for none),
SHARDYARD and RELAY (programs to use instead of building them), BENCH_KEEP (keep the work folder).
Exit: 0 measured, 1 a cell failed, 2 the bench could not be set up.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report
from idle import measure_idle
from measure import Load, run_cell
from servers import BenchError, as_user, direct, shardyard, start_cluster, start_pgbouncer, start_relay, target_of

ROOT = Path(__file__).resolve().parent.parent
TABLE = "bench_accounts"
SCHEMA = f"CREATE TABLE {TABLE} (user_id bigint PRIMARY KEY, balance bigint NOT NULL, note text NOT NULL)"
FILES_WANTED = 20_000
# Of each shard so many keys are asked for, where a client asks for one shard's only.
KEYS = 512


def setting(name, default):
    return os.environ.get(name, default)


def settings():
    def numbers(text):
        return [int(part) for part in text.split(",") if part]

    return {
        "seconds": int(setting("BENCH_SECONDS", "5")),
        "rounds": int(setting("BENCH_ROUNDS", "3")),
        "clients": numbers(setting("BENCH_CLIENTS", "1,16,64")),
        "protocols": [part for part in setting("BENCH_PROTOCOLS", "simple,extended,prepared").split(",") if part],
        "systems": [part for part in setting("BENCH_SYSTEMS", "direct,relay,pgbouncer,shardyard").split(",") if part],
        "rows": int(setting("BENCH_ROWS", "100000")),
        "shards": int(setting("BENCH_SHARDS", "4")),
        "idle": numbers(setting("BENCH_IDLE", "1000,5000")),
    }


def build(wanted):
    """The programs, in release mode; nothing to do where the environment names them."""
    cargo = ["cargo", "build", "--release", "--quiet"]
    programs = {"shardyard": os.environ.get("SHARDYARD"), "relay": os.environ.get("RELAY")}
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    for name, arguments, path in (("shardyard", ["--bin", "shardyard"], target / "shardyard"), ("relay", ["--example", "relay"], target / "examples" / "relay")):
        if name in wanted and not programs[name]:
            if subprocess.run([*cargo, *arguments], cwd=ROOT).returncode:
                raise BenchError(f"building {name} failed")
            programs[name] = str(path)
    return programs


def select(key):
    return f"SELECT user_id, balance, note FROM {TABLE} WHERE user_id = {key}"


def start(plan, programs, folder, stack):
    """The systems, all before the same servers."""
    stores, dsn = start_cluster(folder, programs["shardyard"], plan["shards"], stack)
    # All log in as the application, so that the servers do the same for all.
    own = [as_user(store, dsn) for store in stores]
    starters = {
        "direct": lambda: direct(own),
        "relay": lambda: start_relay(folder, programs["relay"], own, stack),
        "pgbouncer": lambda: start_pgbouncer(folder, own, stack),
        "shardyard": lambda: shardyard(dsn, plan["shards"]),
    }
    systems = {}
    for name in plan["systems"]:
        if name not in starters:
            raise BenchError(f"no system is called {name}")
        systems[name] = starters[name]()
        print(f"bench: {name} is ready: {systems[name].note}", flush=True)
    return stores, target_of(dsn), systems


def sql(target, *texts):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t"]
    for text in texts:
        command += ["-c", text]
    ran = subprocess.run([*command, *target.arguments()], env=target.environment(), capture_output=True, text=True, timeout=120)
    if ran.returncode:
        raise BenchError(f"{target.database()} on port {target.port}: {ran.stderr.strip()}")
    return ran.stdout.strip()


def load(proxy, stores, rows, folder):
    """Fills the table row by row through the proxy; gives some keys of each shard."""
    clients = 10
    script = folder / "load.sql"
    script.write_text(f"\\set turn :turn + 1\n\\set id (:turn - 1) * {clients} + :client_id + 1\nINSERT INTO {TABLE} VALUES (:id, :id * 7, 'account ' || :id::bigint);\n")
    sql(proxy, SCHEMA)
    command = ["pgbench", "-n", "-M", "extended", "-f", str(script), "-D", "turn=0", "-c", str(clients), "-t", str(-(-rows // clients)), *proxy.arguments()]
    ran = subprocess.run(command, env=proxy.environment(), capture_output=True, text=True)
    if ran.returncode or "aborted" in ran.stderr:
        raise BenchError(f"loading failed: {ran.stderr.strip()[-400:]}")
    held, keys = [], []
    for store in map(target_of, stores):
        held.append(int(sql(store, f"VACUUM ANALYZE {TABLE}", f"SELECT count(*) FROM {TABLE}")))
        keys.append([int(key) for key in sql(store, f"SELECT user_id FROM {TABLE} ORDER BY hashint8(user_id) LIMIT {KEYS}").split()])
    if sum(held) < rows:
        raise BenchError(f"{sum(held)} rows on the servers instead of {rows}")
        # The load went through one of the systems: all begin with new server connections.
        sql(store, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{proxy.user}'")
    print(f"bench: the servers hold {' + '.join(map(str, held))} rows", flush=True)
    return keys


def check_answers(system, keys):
    """A fast wrong answer is worth nothing: a few keys must give their own row."""
    for target, of_shard in zip(system.targets, keys):
        for key in of_shard[:5]:
            answer = sql(target, select(key))
            if answer != f"{key}|{key * 7}|account {key}":
                raise BenchError(f"{system.name}: key {key} gives {answer!r}")


def choice(keys, first=0):
    """A pgbench expression: the key of number :turn, found by halves."""
    if len(keys) == 1:
        return str(keys[0])
    half = len(keys) // 2
    return f"CASE WHEN :turn < {first + half} THEN {choice(keys[:half], first)} ELSE {choice(keys[half:], first + half)} END"


def write_scripts(rows, keys, folder):
    """One script per shard that asks for its keys, and one that asks for any."""
    own = []
    for number, of_shard in enumerate(keys):
        own.append(folder / f"shard{number}.sql")
        own[-1].write_text(f"\\set turn random(0, {len(of_shard) - 1})\n\\set id {choice(of_shard)}\n{select(':id')};\n")
    spread = folder / "spread.sql"
    spread.write_text(f"\\set id random(1, {rows})\n{select(':id')};\n")
    return own, [spread] * len(own)


def measure(plan, systems, scripts, folder):
    """All cells, the systems one after another within each, in another order each round."""
    own, spread = scripts
    # The same statements to the same servers for all; only what routes can be asked for any key by any client.
    runs = [(name, "point-select", system, own) for name, system in systems.items()]
    runs += [(name, "point-select-spread", system, spread) for name, system in systems.items() if name == "shardyard"]
    rounds = {}
    for number in range(plan["rounds"]):
        turn = number % len(runs)
        for protocol in plan["protocols"]:
            for clients in plan["clients"]:
                for name, workload, system, files in runs[turn:] + runs[:turn]:
                    cell = run_cell(system, files, Load(protocol, clients, plan["seconds"], number), folder)
                    rounds.setdefault((protocol, clients, name, workload), []).append(cell)
                    told = cell.get("error") or f"{cell['tps']:.0f} tps"
                    print(f"bench: round {number + 1} {protocol} {clients} clients {name} {workload}: {told}", flush=True)
    return report.medians(dict(sorted(rounds.items(), key=lambda entry: (plan["protocols"].index(entry[0][0]), entry[0][1]))))


def run(plan, folder, stack):
    programs = build({*plan["systems"], "shardyard"})
    stores, proxy, systems = start(plan, programs, folder, stack)
    keys = load(proxy, stores, plan["rows"], folder)
    for system in systems.values():
        check_answers(system, keys)
    cells = measure(plan, systems, write_scripts(plan["rows"], keys, folder), folder)
    # Last, for what thousands of clients leave behind in a process.
    idle = {}
    for name in ("pgbouncer", "shardyard"):
        if name in systems and plan["idle"]:
            system = systems[name]
            for cell in measure_idle(system, plan["idle"], lambda key: select(keys[0][key % len(keys[0])])):
                idle[(cell.pop("clients"), name)] = cell
            print(f"bench: idle clients of {name} measured", flush=True)
    print()
    report.print_traffic(cells)
    report.print_idle(idle)
    report.print_targets(cells)
    for system in systems.values():
        print(f"{system.name}: {system.note}")
    report.write_json(ROOT / "bench-results" / "latest.json", cells, idle, {**plan, "notes": {name: system.note for name, system in systems.items()}})
    print("written: bench-results/latest.json")
    failed = [key for key, cell in [*cells.items(), *idle.items()] if "error" in cell]
    return 1 if failed else 0


def remove(folder):
    """The folder, with what servers on their way out may still be writing there."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    print(f"bench: {folder} cannot be removed", file=sys.stderr)


def main():
    plan = settings()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    folder = Path(tempfile.mkdtemp(prefix="shardyard-bench-"))
    with contextlib.ExitStack() as stack:
        if not os.environ.get("BENCH_KEEP"):
            stack.callback(remove, folder)
        # The servers' user writes its data here; pgbench writes its logs as ourselves.
        folder.chmod(0o777)
        try:
            return run(plan, folder, stack)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
