"""What is in the .ipk: comes in the built package, unpacked; each method of Package is a check."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from device import HERE, PACKAGING, TREE, Device
from stdlib import DEPENDS

MOST_BYTES = 360_000  # flash is small; bottle alone is 66,000 of it


class Package:
    """What is in the .ipk."""

    def __init__(self, work: Path, device: Device, ipk: Path) -> None:
        self.work, self.device, self.ipk = work, device, ipk
        self.control = device.package / "control"

    def scripts(self) -> str:
        """Every shell script of the package and of these tests is read by shellcheck and busybox ash."""
        files = [path for folder in (PACKAGING, HERE) for path in folder.rglob("*") if path.is_file()]
        scripts = [path for path in files if path.suffix == ".sh" or path.read_bytes()[:9] == b"#!/bin/sh"]
        installed = [self.control / "postinst", self.control / "prerm"]
        subprocess.run(["shellcheck", *scripts], check=True, capture_output=True, text=True)
        for path in scripts + installed:
            subprocess.run(["busybox", "ash", "-n", path], check=True, capture_output=True, text=True)
        # OpenWrt's own text, which shellcheck would have otherwise: quotes, and no shell given for $@.
        subprocess.run(["shellcheck", "-e", "SC1090,SC1091,SC2068,SC2086,SC3037", *installed],
                       check=True, capture_output=True, text=True)  # fmt: skip
        return f"{len(scripts)} scripts"

    def fields(self) -> str:
        """The control fields, one by one."""
        text = (self.control / "control").read_text()
        fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))
        version = re.search('^__version__ = "(.+)"$', (TREE / "chi/__init__.py").read_text(), re.MULTILINE)
        release = re.match(r"\d+(\.\d+)*", version[1] if version else "")
        assert version, "no version"
        assert release, version[1]
        wanted = {
            "Package": "chi",
            "Version": f"{release[0]}-r{1 if release[0] == version[1] else 0}",
            "Depends": ", ".join(DEPENDS),
            "Architecture": "all",
            "Require-User": "chi:chi",
            "Section": "net",
        }
        assert {name: fields[name] for name in wanted} == wanted, text
        assert self.ipk.name == f"chi_{fields['Version']}_all.ipk", self.ipk
        assert re.search(r"^ \S", text, re.MULTILINE), text
        return fields["Version"]

    def format(self) -> str:
        """Three members in a gzip'd tar; everything is root's; the modes; the scripts; the conffiles."""
        assert gzip.decompress(self.ipk.read_bytes())[257:262] == b"ustar"
        with tarfile.open(self.ipk) as archive:
            assert archive.getnames() == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        assert (self.device.package / "debian-binary").read_text() == "2.0\n"
        modes = {}
        for name in ("data", "control"):
            with tarfile.open(self.device.package / f"{name}.tar.gz") as archive:
                for member in archive:
                    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
                    modes[f"{name}{member.name[1:]}"] = (member.type, oct(member.mode))
        folder, file, link = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
        assert "data/usr/lib/chi/chi/dashboard.html" in modes, modes
        wanted = {
            "data/etc/config/chi": (file, "0o600"),
            "data/etc/init.d/chi": (file, "0o755"),
            "data/usr/bin/chi-server": (link, "0o777"),
            "data/usr/lib/chi/chi-server": (file, "0o755"),
            "control/postinst": (file, "0o755"),
            "control/prerm": (file, "0o755"),
        }
        for name, (kind, mode) in modes.items():
            default = (folder, "0o755") if kind == folder else (file, "0o644")
            assert (kind, mode) == wanted.pop(name, default), (name, mode)
        assert not wanted, wanted
        assert (self.control / "conffiles").read_text() == "/etc/config/chi\n"
        assert (self.control / "postinst").read_text().endswith("\ndefault_postinst $0 $@\n")
        assert (self.control / "prerm").read_text().endswith("\ndefault_prerm $0 $@\n")
        return f"{len(modes)} members"

    def files(self) -> str:
        """Every module of chi as byte code, the files of the feed, and no module twice or from elsewhere."""
        with tarfile.open(self.device.package / "data.tar.gz") as archive:
            names = {member.name for member in archive if not member.isdir()}
        modules = {name for name in names if name.startswith("./usr/lib/chi/chi/")}
        found = (path for path in (TREE / "chi").rglob("*.*") if path.suffix in (".py", ".html"))
        sources = {str(path.relative_to(TREE)) for path in found}
        sources = {name for name in sources if not name.startswith("chi/demo")}  # the simulated miners
        assert modules == {f"./usr/lib/chi/{re.sub('py$', 'pyc', name)}" for name in sources}, modules
        assert not [name for name in names if name.endswith(".py")]
        feed = PACKAGING / "chi/files"
        for name, place in (("chi.init", "etc/init.d/chi"), ("chi.config", "etc/config/chi")):
            assert (self.device.root / place).read_bytes() == (feed / name).read_bytes(), name
        return f"{len(names)} files"

    def small(self) -> str:
        """The byte code is without docstrings and columns, by the Makefile's exported variables."""
        code = (self.device.root / "usr/lib/chi/chi/settings.pyc").read_bytes()
        source = (TREE / "chi/settings.py").read_text()
        assert source[3:30].encode() not in code, "the docstring is there"
        variables = ("PYTHONNODEBUGRANGES:=1", "PYTHONOPTIMIZE:=2")
        makefile = (PACKAGING / "chi/Makefile").read_text()
        assert all(f"export {variable}\n" in makefile for variable in variables)
        return f"settings.pyc has {len(code)} bytes"

    def again(self) -> str:
        """Built with another mask, time zone and folder: the same bytes."""
        names = sorted(path.name for path in (self.work / "first").iterdir())
        assert len(names) == 2, names
        for name in names:
            first, second = ((self.work / folder / name).read_bytes() for folder in ("first", "second"))
            assert first == second, f"{name} differs"
        return hashlib.sha256(second).hexdigest()[:16]

    def page(self) -> str:
        """LuCI's page is a package of its own: its three files, who may read them, and what it needs."""
        (ipk,) = (self.work / "first").glob("luci-app-chi_*")
        texts, files = {}, {}
        with tarfile.open(ipk) as outer:
            for part in ("control", "data"):
                with tarfile.open(fileobj=outer.extractfile(f"./{part}.tar.gz")) as archive:
                    for member in filter(tarfile.TarInfo.isfile, archive):
                        texts[part + member.name[1:]] = archive.extractfile(member).read().decode()  # type: ignore
                        files[part + member.name[1:]] = member
        app = PACKAGING / "luci-app-chi"
        wanted = {
            "data/www/luci-static/resources/view/chi.js": "htdocs/luci-static/resources/view/chi.js",
            "data/usr/share/luci/menu.d/luci-app-chi.json": "root/usr/share/luci/menu.d/luci-app-chi.json",
            "data/usr/share/rpcd/acl.d/luci-app-chi.json": "root/usr/share/rpcd/acl.d/luci-app-chi.json",
        }
        assert {name for name in texts if name.startswith("data/")} == set(wanted), sorted(texts)
        for name, source in wanted.items():
            assert texts[name] == (app / source).read_text(), name
            assert files[name].mode == 0o644, name
        assert "\nDepends: luci-base, chi\n" in texts["control/control"]
        subprocess.run(["busybox", "ash", "-n"], input=texts["control/postinst-pkg"], check=True, text=True)
        size = sum(member.size for name, member in files.items() if name.startswith("data/"))
        assert size < 20_000, size
        return f"{size} bytes installed"

    def size(self) -> str:
        """What it takes of the flash, compressed."""
        size = self.ipk.stat().st_size
        assert size <= MOST_BYTES, f"{size} bytes, of {MOST_BYTES}"
        return f"{size} bytes, of {MOST_BYTES}"

    def command(self) -> str:
        """`chi-server --version`, which the feed's CI looks for the version in, and the feed's own test."""
        said = subprocess.run(["chroot", self.device.root, "/usr/bin/chi-server", "--version"],
                              capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
        version = self.ipk.name.split("_")[1].partition("-")[0]
        assert version in said, said
        script = self.device.root / "test.sh"
        shutil.copy(PACKAGING / "chi/test.sh", script)
        subprocess.run(
            ["chroot", self.device.root, "/bin/busybox", "ash", "/test.sh"], capture_output=True, check=True,
            text=True, env={"PATH": "/usr/bin:/usr/sbin", "PKG_NAME": "chi", "PKG_VERSION": version},
        )  # fmt: skip
        script.unlink()
        return said
