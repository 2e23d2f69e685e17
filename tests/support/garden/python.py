"""An origin on Python's own HTTP parser. It says in a header what it saw, and nothing else."""

import hashlib
import http.server
import json


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        body = self.body()
        seen = {
            "method": self.command,
            # `self.path` has leading slashes collapsed; the request line has what was sent.
            "target": self.requestline.split(" ")[1],
            "host": self.headers["host"],
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        self.send_response(200)
        self.send_header("x-seen", json.dumps(seen))
        self.send_header("content-length", "0")
        self.end_headers()

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
