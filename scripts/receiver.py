#!/usr/bin/env python3
"""A receiver of pushes to try an endpoint with: prints what comes, and says whether the signature holds.

    scripts/receiver.py 9000                  listens on 127.0.0.1:9000
    scripts/receiver.py 9000 whsec_…          verifies each request with the endpoint's secret

How a request is verified is what Standard Webhooks says, <https://www.standardwebhooks.com>; in a program of yours, take
one of its libraries.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300


def verified(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) <= TOLERANCE
    given = (signature.removeprefix("v1,") for signature in headers["webhook-signature"].split())
    return fresh and any(hmac.compare_digest(expected, one) for one in given)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            event = json.loads(body)
        except ValueError:
            event = {}
        said = "" if self.secret is None else ("  verified" if verified(self.secret, self.headers, body) else "  WRONG SIGNATURE")
        print(f"{self.headers.get('webhook-id')}  {event.get('type')}  {event.get('deliveryId')}{said}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    if len(sys.argv) not in (2, 3) or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    Receiver.secret = sys.argv[2] if len(sys.argv) == 3 else None
    port = int(sys.argv[1])
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    except (OSError, OverflowError) as error:
        sys.exit(f"receiver: cannot listen on 127.0.0.1:{port}: {getattr(error, 'strerror', None) or error}; stop what does, or name another port")
    print(f"http://127.0.0.1:{port}: waiting for requests, Ctrl-C ends", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
