"""What chi is measured against: the same bytes from the same server, with nothing in between.

    python -m bare bottle|waitress --http_port PORT --threads N

Each is imported as late as it is needed, so that the one without bottle does not carry it.
"""

import argparse
import logging
from pathlib import Path

BODY = (Path(__file__).parent / "summary.reply").read_bytes().rstrip(b"\0")
CONTENT_TYPE = "application/json; charset=utf-8"


def with_bottle():
    """Return a Bottle application with one route, as one would write it."""
    import bottle

    application = bottle.Bottle()

    @application.route("/summary")
    def summary():
        bottle.response.content_type = CONTENT_TYPE
        return BODY

    return application


def without_framework():
    """Return a plain WSGI application."""
    headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(BODY)))]

    def application(environ, start_response):
        start_response("200 OK", headers)
        return [BODY]

    return application


def main():
    """Serve until killed."""
    import waitress

    parser = argparse.ArgumentParser(description="a bare application to measure against")
    parser.add_argument("kind", choices=["bottle", "waitress"])
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    # Its warning per queued request would slow it down, and flatter chi, which does not print it.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    application = with_bottle() if arguments.kind == "bottle" else without_framework()
    listen = f"127.0.0.1:{arguments.http_port}"
    waitress.serve(application, listen=listen, threads=arguments.threads, _quiet=True)


if __name__ == "__main__":
    main()
