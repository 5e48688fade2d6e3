"""Prints md5_mod_8.txt: key, first 8 hex digits of its md5, shard of 8 as int(md5(key)[:8], 16) % 8."""
import hashlib
import random
import uuid

random.seed(8)
keys = [str(n) for n in range(100)]
keys += [str(random.randrange(-(2**63), 2**63)) for _ in range(400)]
keys += [str(-(2**63)), str(2**63 - 1), "-1"]
keys += [str(uuid.UUID(int=random.getrandbits(128))) for _ in range(200)]
keys += ["", "a", "Ada", "ada@example.org", "zoë", "東京", "x" * 200, " leading", "trailing "]
print("# made by make.py: key, md5[:8], shard of 8")
for key in keys:
    digest = hashlib.md5(key.encode()).hexdigest()[:8]
    print(key, digest, int(digest, 16) % 8, sep="\t")
