"""A GCS emulator as a process of its own: says its port, and ends when its stdin does."""

import http.server
import sys
import threading
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from types import FunctionType
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.storage import Storage

one_at_a_time = threading.RLock()


def alone(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def one(*how: Any, **more: Any) -> Any:
        with one_at_a_time:
            return method(*how, **more)

    return one


for name, method in list(vars(Storage).items()):  # it knows nothing of threads
    if isinstance(method, FunctionType) and not name.startswith("__"):
        setattr(Storage, name, alone(method))

# After each upload it writes a list of all objects, which only a bucket on a disk needs.
Storage._write_config_to_file = lambda storage: None  # type: ignore[method-assign]
upload = objects.xml_upload


def conditional_upload(request: Any, response: Any, storage: Storage, *how: Any, **more: Any) -> None:
    """An upload by the XML API with the precondition that it knows nothing of: that no object of this name is there."""
    with one_at_a_time:
        if request.get_header("x-goog-if-generation-match") == "0":
            try:
                storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
            except NotFound:
                pass
        upload(request, response, storage, *how, **more)
        response["ETag"] = '"0"'


objects.xml_upload = conditional_upload

from gcp_storage_emulator.server import create_server  # noqa: E402  # which takes the handlers as they are now

# Several clients ask at once, and one may ask for a thing while the answer to another is still on its way to it.
http.server.HTTPServer = http.server.ThreadingHTTPServer  # type: ignore[misc]
http.server.HTTPServer.request_queue_size = 128
running = create_server("127.0.0.1", 0, in_memory=True, default_bucket="images")
running.start()
print(running._api._httpd.server_address[1], flush=True)
sys.stdin.read()
running.stop()
