"""http.server as an upstream that reports what it saw: server.py ADDRESS PORT REPORTS. See README.md for the form.

The library parses heads; it leaves bodies to the handler, which reads both codings and nothing that is malformed.
Debian: python3.
"""

import http.client
import http.server
import json
import sys

# Nothing but the protocol may make it refuse: what keygate admits is to be seen here.
http.client._MAXHEADERS = 400


class Malformed(Exception):
    """The body ends before its end, or is no body."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "upstream"
    wbufsize = -1  # head and body in one piece
    reported = True

    def __getattr__(self, name):
        # Every method has a handler.
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def handle_one_request(self):
        self.reported = True
        super().handle_one_request()

    def parse_request(self):
        self.reported = False
        return super().parse_request()

    def answer(self):
        try:
            body = self.body()
        except Malformed:
            self.report(0, False, 0)
            self.close_connection = True
            return
        self.report(len(body), True, 200)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("X-Target", self.requestline.split(" ")[1])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"seen\n")

    def body(self):
        if self.headers.get_all("Transfer-Encoding"):
            return self.chunks()
        lengths = self.headers.get_all("Content-Length", ["0"])
        return self.exactly(int(lengths[0]))

    def chunks(self):
        whole = b""
        while size := int(self.text_line().split(";")[0], 16):
            whole += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Malformed
        while self.text_line():
            pass
        return whole

    def text_line(self):
        line = self.rfile.readline()
        if not line.endswith(b"\r\n"):
            raise Malformed
        return line[:-2].decode("latin-1")

    def exactly(self, length):
        data = self.rfile.read(length)
        if len(data) != length:
            raise Malformed
        return data

    def send_error(self, code, message=None, explain=None):
        # What the library refuses by itself was seen too.
        self.report(0, False, code)
        super().send_error(code, message, explain)

    def report(self, body, complete, status):
        if self.reported:
            return
        self.reported = True
        fields = [[name, str(value)] for name, value in self.headers.items()] if getattr(self, "headers", None) else []
        entry = {"line": self.requestline, "fields": fields, "body": body, "complete": complete, "status": status}
        self.server.reports.write(json.dumps(entry) + "\n")
        self.server.reports.flush()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def main():
    address, port, path = sys.argv[1:]
    server = Server((address, int(port)), Handler)
    server.reports = open(path, "a", encoding="ascii")
    server.serve_forever()


main()
