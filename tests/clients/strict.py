"""One GET that checks the chain as strictly as OpenSSL can (`VERIFY_X509_STRICT`, Python's default since 3.13).

Prints the status and the body. Proxy and certificate authority come from the environment.
"""

import http.client
import os
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
proxy = urlsplit(os.environ["HTTPS_PROXY"])
trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
trust.verify_flags |= ssl.VERIFY_X509_STRICT
connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=trust)
connection.set_tunnel(url.hostname, url.port or 443)
connection.request("GET", url.path)
reply = connection.getresponse()
print(reply.status)
print(reply.read().decode())
