"""What may happen to a service's configuration: whatever it is, no privileged command gets through."""

from __future__ import annotations

from service import OPTIONS, Service

LINE = 'CHI_OPTIONS="--read-only"\n'
# The accident, and what is in /etc/default/chi after it, in Latin-1; None: it is not there.
ACCIDENTS: dict[str, str | None] = {
    "deleted": None,
    "empty": "",
    "commented out": f"#{LINE}",
    "misspelt": 'CHI_OPTION="--read-only"\n',
    "another option alone": 'CHI_OPTIONS="--threads 2"\n',
    "a second line": f'{LINE}CHI_OPTIONS="--max-age 1"\n',
    "Latin-1 before it": f'RIG_NAME="Gr\xfcn"\n{LINE}',
    "Latin-1 in it": 'CHI_OPTIONS="--read-only --host gr\xfcn"\n',
    "a quote too few": 'CHI_OPTIONS="--read-only\n',
    "typographic quotes": "CHI_OPTIONS=\x93--read-only\x94\n",
    "a byte that is no text": f"\x00{LINE}",
    "line ends of Windows": LINE.replace("\n", "\r\n"),
    "the token's option without its file": 'CHI_OPTIONS="--token-file"\n',
    "a token file that is not there": 'CHI_OPTIONS="--token-file /etc/credstore/none"\n',
    "a module of somebody else's": f"PYTHONPATH=/e2e/elsewhere\nPYTHONSTARTUP=/e2e/elsewhere\n{LINE}",
}
PRIVILEGED = (
    ("/restart/", "--request POST"),
    ("/quit/",),
    ("/", '--data \'{"command":"restart"}\''),
    ("/summary+quit/", "--request POST"),
)


def happen(service: Service) -> str:
    """Each accident: the service serves reports only, or does not start and says why."""
    kept = service.run(f"cat {OPTIONS}")
    refused = []
    try:
        for name, text in ACCIDENTS.items():
            service.run(f"rm -f {OPTIONS}")
            if text is not None:
                service.machine.write_bytes(OPTIONS, text.encode("latin-1"))
            service.run("systemctl restart chi", check=False)
            if service.show("ActiveState") != "active":
                refused.append(name)
                continue
            assert service.get("/summary/")[0] == 200, name
            for path, *options in PRIVILEGED:
                status, body = service.get(path, *options)
                assert status == 403, f"{name}: {path} {options}: {status} {body}"
    finally:
        service.machine.write(OPTIONS, kept)
        service.run("systemctl reset-failed chi; systemctl restart chi")
    return f"{len(ACCIDENTS)}; does not start with {', '.join(refused) or 'none of them'}"
