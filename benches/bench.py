#!/usr/bin/env python3
"""`make bench`: Shardyard against direct PostgreSQL, PgBouncer and a bare relay, on this machine, interleaved.

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
from measure import run_cell
from servers import BenchError, start_pgbouncer, start_postgres, start_relay, start_shardyard

ROOT = Path(__file__).resolve().parent.parent
TABLE = "bench_accounts"
SCHEMA = f"CREATE TABLE {TABLE} (user_id bigint PRIMARY KEY, balance bigint NOT NULL, note text NOT NULL)"
SELECT = f"SELECT user_id, balance, note FROM {TABLE} WHERE user_id = "
FILES_WANTED = 20_000


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


def start(plan, programs, folder, stack):
    plain = start_postgres(folder, stack)
    starters = {
        "direct": lambda: plain,
        "relay": lambda: start_relay(folder, programs["relay"], plain, stack),
        "pgbouncer": lambda: start_pgbouncer(folder, plain, stack),
        "shardyard": lambda: start_shardyard(folder, programs["shardyard"], plan["shards"], stack),
    }
    systems = {}
    for name in plan["systems"]:
        if name not in starters:
            raise BenchError(f"no system is called {name}")
        systems[name] = starters[name]()
        print(f"bench: {name} is ready{': ' + systems[name].note if systems[name].note else ''}", flush=True)
    return plain, systems


def sql(system, text):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", "-c", text, "-h", system.host, "-p", str(system.port), "-U", system.user, system.database()]
    ran = subprocess.run(command, env=system.environment(), capture_output=True, text=True, timeout=120)
    if ran.returncode:
        raise BenchError(f"{system.name}: {text.split('(')[0].strip()}: {ran.stderr.strip()}")
    return ran.stdout


def load(system, rows, folder):
    """Fills the table row by row through the system itself, so that what is measured also wrote what it reads."""
    clients = 10
    script = folder / "load.sql"
    script.write_text(f"\\set turn :turn + 1\n\\set id (:turn - 1) * {clients} + :client_id + 1\nINSERT INTO {TABLE} VALUES (:id, :id * 7, 'account ' || :id::bigint);\n")
    sql(system, SCHEMA)
    command = ["pgbench", "-n", "-M", "extended", "-f", str(script), "-D", "turn=0", "-c", str(clients), "-t", str(-(-rows // clients)), *system.pgbench_arguments()]
    ran = subprocess.run(command, env=system.environment(), capture_output=True, text=True)
    if ran.returncode or "aborted" in ran.stderr:
        raise BenchError(f"{system.name}: loading failed: {ran.stderr.strip()[-400:]}")
    held = []
    for store in system.stores:
        counted = subprocess.run(["psql", "-X", "-A", "-t", "-c", f"VACUUM ANALYZE {TABLE}", "-c", f"SELECT count(*) FROM {TABLE}", store], capture_output=True, text=True)
        if counted.returncode:
            raise BenchError(f"{system.name}: {counted.stderr.strip()}")
        held.append(int(counted.stdout.split()[-1]))
    if sum(held) < rows:
        raise BenchError(f"{system.name}: {sum(held)} rows on its servers instead of {rows}")
    print(f"bench: {system.name} holds {' + '.join(map(str, held))} rows", flush=True)


def check_answers(system, rows):
    """A fast wrong answer is worth nothing: a few keys must give their own row."""
    for key in (1, 2, 3, rows // 3, rows // 2, rows - 1, rows):
        answer = sql(system, f"{SELECT}{key}").strip()
        if answer != f"{key}|{key * 7}|account {key}":
            raise BenchError(f"{system.name}: key {key} gives {answer!r}")


def measure(plan, systems, folder):
    """All cells, the systems one after another within each, in another order each round."""
    script = folder / "select.sql"
    script.write_text(f"\\set id random(1, {plan['rows']})\n{SELECT}:id;\n")
    rounds = {}
    names = list(systems)
    for number in range(plan["rounds"]):
        for protocol in plan["protocols"]:
            for clients in plan["clients"]:
                for name in names[number % len(names):] + names[:number % len(names)]:
                    cell = run_cell(systems[name], script, protocol, clients, plan["seconds"], folder)
                    rounds.setdefault((protocol, clients, name), []).append(cell)
                    told = cell.get("error") or f"{cell['tps']:.0f} tps"
                    print(f"bench: round {number + 1} {protocol} {clients} clients {name}: {told}", flush=True)
    return report.medians(dict(sorted(rounds.items(), key=lambda entry: (plan["protocols"].index(entry[0][0]), entry[0][1]))))


def run(plan, folder, stack):
    programs = build(plan["systems"])
    plain, systems = start(plan, programs, folder, stack)
    load(plain, plan["rows"], folder)
    if "shardyard" in systems:
        load(systems["shardyard"], plan["rows"], folder)
    for system in systems.values():
        check_answers(system, plan["rows"])
    idle = {}
    for name in ("pgbouncer", "shardyard"):
        if name in systems and plan["idle"]:
            for cell in measure_idle(systems[name], plan["idle"], lambda key: f"{SELECT}{key % plan['rows'] + 1}"):
                idle[(cell.pop("clients"), name)] = cell
            print(f"bench: idle clients of {name} measured", flush=True)
    cells = measure(plan, systems, folder)
    print()
    report.print_traffic(cells, list(systems))
    report.print_idle(idle)
    report.print_targets(cells)
    for system in systems.values():
        if system.note:
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
