"""Is a role healthy? For containers, whose images have neither curl nor wget: `python -m heliograph_server.probe URL`.

In: the URL of a health page. Out: exit status 0 when it answers 200, else 1 and what it says. Imports little: it runs
every few seconds.
"""

from __future__ import annotations

import http.client
import sys
from ssl import CERT_NONE, create_default_context
from urllib.parse import urlsplit

TIMEOUT = 5.0


def answer(url: str) -> tuple[int, str]:
    """Status and beginning of the body. The certificate is not looked at: the question is asked from within."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port
    if parts.scheme == "https":
        context = create_default_context()
        context.check_hostname, context.verify_mode = False, CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read(500).decode(errors="replace")
    finally:
        connection.close()


def main(url: str) -> int:
    try:
        status, text = answer(url)
    except (OSError, http.client.HTTPException) as error:
        status, text = 0, f"{url}: {error or type(error).__name__}"
    print(text)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
