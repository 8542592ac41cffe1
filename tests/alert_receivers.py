"""What alerts are sent to in the tests: a webhook and a mail server on loopback that keep what they receive."""

import email
import json
import socketserver
import threading
from contextlib import contextmanager
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEBHOOK_PATH = "/T0/B0/secret"


@contextmanager
def webhook():
    """(bodies of the messages sent to it, variable with the connection that knows its address)."""
    bodies = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = self.path == WEBHOOK_PATH
            if found:
                bodies.append(body)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Webhook)) as port:
        connection = {"conn_type": "slackwebhook", "password": f"http://127.0.0.1:{port}{WEBHOOK_PATH}"}
        yield bodies, {"AIRFLOW_CONN_CLIPFARM_SLACK": json.dumps(connection)}


@contextmanager
def mail_server():
    """(messages sent to it, variable with the connection that knows its address)."""
    messages = []

    class Session(socketserver.StreamRequestHandler):
        """As much of SMTP as one message takes."""

        def handle(self):
            self.wfile.write(b"220 ready\r\n")
            while command := self.rfile.readline().split():
                verb = command[0].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (line := self.rfile.readline()) != b".\r\n":
                        lines.append(line)
                    messages.append(email.message_from_bytes(b"".join(lines), policy=policy.default))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)) as port:
        extra = {"from_email": "clipfarm@example.org", "disable_ssl": True, "disable_tls": True}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        yield messages, {"AIRFLOW_CONN_CLIPFARM_SMTP": json.dumps(connection)}


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
