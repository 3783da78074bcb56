"""A GCS emulator as a process of its own: says its port, and ends when its stdin does."""

import http.server
import sys

from gcp_storage_emulator.server import create_server

# Several clients ask at once, and one may ask for a thing while the answer to another is still on its way to it.
http.server.HTTPServer = http.server.ThreadingHTTPServer  # type: ignore[misc]
http.server.HTTPServer.request_queue_size = 128
running = create_server("127.0.0.1", 0, in_memory=True, default_bucket="films")
running.start()
print(running._api._httpd.server_address[1], flush=True)
sys.stdin.read()
running.stop()
