import decimal
import hashlib
import json
import re

print(json.dumps({"b": [1, 2.5, None], "a": "grüß dich"}, sort_keys=True, ensure_ascii=False))
print(decimal.Decimal(1) / decimal.Decimal(7))
print(hashlib.sha256(b"portable").hexdigest())
print(re.sub(r"(\w+) (\w+)", r"\2 \1", "one two three four"))
print(2**200, 0.1 + 0.2, f"{1e22:.3f}")
