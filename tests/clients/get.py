"""One GET through whatever proxy and certificate authority the environment names: `get.py requests|httpx URL`.

Prints the status and the body. It names no proxy, no certificate and no credential of its own: that is the point.
"""

import importlib
import sys

library, url = sys.argv[1:]
reply = importlib.import_module(library).get(url)
print(reply.status_code)
print(reply.text)
