"""An S3 emulator as a process of its own, with the bucket `images`: says its port, and ends when its stdin does."""

import logging
import sys
import urllib.request

from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").disabled = True
running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
running.start()
port = running.get_host_and_port()[1]
urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/images", method="PUT")).close()
print(port, flush=True)
sys.stdin.read()
running.stop()
