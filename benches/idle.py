"""Memory per idle client: opens thousands of connections that have run one statement each, and reads the proxy's RSS."""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time

from measure import rss_kib


class IdleClient:
    """A client that logs in by SCRAM, runs one statement and then says nothing."""

    keys = {}

    def __init__(self, target, statement):
        self.target = target
        self.socket = socket.create_connection((target.host, target.port), 30)
        self.buffer = b""
        settings = {"user": target.user, "database": target.database(), "client_encoding": "UTF8"}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in settings.items()) + b"\0"
        self.socket.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        self.log_in()
        self.send(b"Q", statement.encode() + b"\0")
        self.rows = self.until_ready()

    def close(self):
        self.socket.close()

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def receive(self):
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack_from("!i", self.buffer, 1)[0]:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise ConnectionError("connection closed by the server")
            self.buffer += chunk
        end = 1 + struct.unpack_from("!i", self.buffer, 1)[0]
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:end], self.buffer[end:]
        if kind == b"E":
            raise ConnectionError(" ".join(part.decode(errors="replace") for part in body.split(b"\0") if part))
        return kind, body

    def until_ready(self):
        rows = 0
        while True:
            kind, _ = self.receive()
            rows += kind == b"D"
            if kind == b"Z":
                return rows

    def log_in(self):
        kind, body = self.receive()
        method = struct.unpack_from("!i", body)[0]
        if method == 3:
            self.send(b"p", self.target.password.encode() + b"\0")
        elif method == 10:
            self.scram()
        elif method != 0:
            raise ConnectionError(f"authentication method {method} is not known to the bench")
        self.until_ready()

    def scram(self):
        """RFC 5802 without channel binding."""
        first = "n=,r=" + base64.b64encode(os.urandom(18)).decode()
        message = ("n,," + first).encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(message)) + message)
        challenge = self.receive()[1][4:].decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        salted = self.salted_password(fields["s"], int(fields["i"]))
        final = f"c=biws,r={fields['r']}"
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), f"{first},{challenge},{final}".encode(), "sha256")
        proof = bytes(left ^ right for left, right in zip(client_key, signature))
        self.send(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode())

    def salted_password(self, salt, iterations):
        key = (self.target.password, salt, iterations)
        if key not in self.keys:
            self.keys[key] = hashlib.pbkdf2_hmac("sha256", self.target.password.encode(), base64.b64decode(salt), iterations)
        return self.keys[key]


def measure_idle(system, counts, statement):
    """For each count: {clients, rss_kib, rss_kib_per_client} or {clients, error}. The proxy must be fresh: allocators keep what traffic took."""
    results, clients = [], []
    try:
        IdleClient(system.targets[0], statement(0)).close()
        time.sleep(0.5)
        base = rss_kib(system.pids)
        for count in counts:
            try:
                while len(clients) < count:
                    clients.append(IdleClient(system.targets[0], statement(len(clients))))
                    if clients[-1].rows != 1:
                        raise ConnectionError(f"{clients[-1].rows} rows instead of 1")
            except OSError as error:
                results.append({"clients": count, "error": f"client {len(clients) + 1}: {error}"})
                break
            time.sleep(1.0)
            memory = rss_kib(system.pids)
            results.append({"clients": count, "rss_kib": memory, "rss_kib_per_client": round((memory - base) / count, 2)})
    except OSError as error:
        results.append({"clients": counts[0], "error": str(error)})
    finally:
        for client in clients:
            client.close()
    time.sleep(0.5)
    return results
