"""The apt repository of a release, as a user's apt finds it: signed, on a web server."""

from __future__ import annotations

import shutil
from pathlib import Path

from build import BuildSystem
from machine import Machine

URL = "http://127.0.0.1:8000/repo"
KEY = "chi end to end"
SERVE = "systemd-run --quiet --unit=web python3 -m http.server --bind 127.0.0.1 --directory /e2e 8000"
MAKE_KEY = ("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", KEY, "ed25519", "sign")


class Archive:
    """Made in the build system, by a key of its own, and put into `folder`, which the machine sees."""

    def __init__(self, system: BuildSystem, tree: Path, folder: Path) -> None:
        self.system = system
        self.script = system.inside(tree / "packaging/release/repository.py")
        self.target = folder / "repo"
        self.debs: list[str] = []
        self._run(*MAKE_KEY)

    def _run(self, *command: str) -> str:
        return self.system.run(*command, user=0, HOME="/root")

    def add(self, deb: Path) -> str:
        """Add a package, and make the repository anew."""
        self.debs.append(self.system.inside(deb))
        self._run(self.script, "/srv/repo", *self.debs, "--key", KEY, "--url", URL)
        shutil.rmtree(self.target, ignore_errors=True)
        shutil.copytree(self.system.root / "srv/repo", self.target)
        assert (self.target / "debian/InRelease").exists()
        return f"{len(self.debs)} of chi, signed"

    def set_up(self, machine: Machine) -> None:
        """Have a machine know the repository, as the README says."""
        machine.run(SERVE)
        machine.run(
            "until curl --silent --fail --output /dev/null http://127.0.0.1:8000/; do sleep 0.2; done"
        )
        keyring, sources = "/etc/apt/keyrings/chi-archive-keyring.asc", "/etc/apt/sources.list.d/chi.sources"
        machine.run(f"curl --fail --output {keyring} {URL}/debian/chi-archive-keyring.asc")
        machine.run(f"curl --fail --output {sources} {URL}/debian/chi.sources")
        machine.run("apt update")

    def refuses_what_is_changed(self, machine: Machine) -> str:
        """Apt takes nothing of which a byte was changed after the signature."""
        indexes = [self.target / "debian/Packages", self.target / "debian/Packages.gz"]
        kept = [index.read_bytes() for index in indexes]
        try:
            indexes[0].write_bytes(kept[0].replace(b"Package: chi", b"Package: chj"))
            indexes[1].unlink()
            machine.run("rm /var/lib/apt/lists/127.0.0.1*")  # as if it was never there
            said = machine.run("apt update 2>&1", check=False)
        finally:
            for index, data in zip(indexes, kept, strict=True):
                index.write_bytes(data)
        assert "Hash Sum mismatch" in said or "unexpected size" in said, said
        machine.run("apt update")
        return "a changed index is refused"
