"""Make `.venv`: a virtual environment with mgresnet and its tools.

Run as ``python3 tools/bootstrap.py``. It needs nothing but Python's standard
library; neither `ensurepip` nor pip has to be there (Debian packages both
separately). Everything goes into `.venv` beside `pyproject.toml`, and a second
run brings an existing `.venv` up to date.

pip comes from the first of these that exists: `ensurepip`, an installed pip,
the package index. The index is the one pip itself would use: `PIP_INDEX_URL`,
else `index-url` in a pip configuration file, else https://pypi.org/simple.
"""

import configparser
import hashlib
import html
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from urllib.parse import urljoin, urlsplit

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

OLDEST_PYTHON = (3, 11)  # requires-python in pyproject.toml

# The pip to fetch where the machine has none. A pip can run from its own wheel.
PIP_WHEEL = "pip-25.3-py3-none-any.whl"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
OTHER_WAYS = (
    "check the network, or set PIP_INDEX_URL to a package index, "
    "or install Debian's python3-venv"
)


def main():
    """Create `.venv` if there is none, then install the package into it."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, found = OLDEST_PYTHON, sys.version_info
        fail(
            f"mgresnet needs Python {wanted[0]}.{wanted[1]} or newer, "
            f"this is {found[0]}.{found[1]}; try `make PYTHON3=python3.12`"
        )
    if not runs([PYTHON, "-m", "pip", "--version"]):
        say("creating .venv")
        try:
            create_venv()
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"cannot create .venv: {error}; try `make clean` first")
    say("installing mgresnet and its tools into .venv (first time: about a minute)")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if subprocess.call([*pip, "install", "--quiet", "--editable", f"{ROOT}[dev]"]):
        fail(
            "pip could not install mgresnet (its reason is above); "
            "check the network, or set PIP_INDEX_URL to a package index"
        )


def create_venv():
    """Create `.venv` afresh, with pip in it."""
    if importlib.util.find_spec("ensurepip"):
        venv.create(VENV, clear=True, symlinks=True, with_pip=True)
        return
    venv.create(VENV, clear=True, symlinks=True)
    if runs([sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip"]):
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, PIP_WHEEL)
        wheel.write_bytes(fetch_pip())
        subprocess.check_call(
            [PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel]
        )


def fetch_pip():
    """Return the pip wheel's bytes, from the index pip would use."""
    settings = pip_settings()
    page = settings["index-url"].rstrip("/") + "/pip/"
    host = urlsplit(page).hostname or page
    say(f"fetching pip from {host}")
    try:
        context = tls_context(settings["cert"])
        links = re.findall(r'href="([^"]+)"', download(page, context).decode())
        urls = [urljoin(page, html.unescape(link)) for link in links]
        wheels = [url for url in urls if urlsplit(url).path.endswith(PIP_WHEEL)]
        content = download(wheels[0], context) if wheels else b""
    except (OSError, ValueError) as error:
        fail(f"cannot fetch pip from {host}: {error}; {OTHER_WAYS}")
    if not wheels:
        fail(f"{host} does not offer {PIP_WHEEL}; {OTHER_WAYS}")
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        fail(f"{PIP_WHEEL} from {host} is not the published file; {OTHER_WAYS}")
    return content


def pip_settings():
    """Return pip's `index-url` and `cert`, from its files and its environment."""
    settings = {"index-url": "https://pypi.org/simple", "cert": None}
    config_home = os.environ.get("XDG_CONFIG_HOME", "~/.config")
    files = [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "~/.pip/pip.conf",
        f"{config_home}/pip/pip.conf",
        os.environ.get("PIP_CONFIG_FILE", os.devnull),
    ]
    parser = configparser.RawConfigParser()
    parser.optionxform = lambda name: name.lower().replace("_", "-")
    parser.read(map(os.path.expanduser, files))
    for name in settings:
        for section in ("global", "install"):
            settings[name] = parser.get(section, name, fallback=settings[name])
        variable = "PIP_" + name.upper().replace("-", "_")
        settings[name] = os.environ.get(variable) or settings[name]
    return settings


def tls_context(cert):
    """Return how to verify the index: by `cert`, else by the system's authorities.

    A minimal system has no authorities. The transfer is then not verified; the
    digest of the wheel, which is checked in every case, vouches for it alone.
    """
    context = ssl.create_default_context(cafile=cert)
    system = ssl.get_default_verify_paths()
    if not (cert or system.cafile or (system.capath and os.listdir(system.capath))):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def download(url, context):
    """Return what is stored at `url`."""
    with urllib.request.urlopen(url, timeout=60, context=context) as answer:
        return answer.read()


def runs(command):
    """Return whether `command` exists and succeeds; its output is dropped."""
    try:
        quiet = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return False
    return quiet.returncode == 0


def say(message):
    """Print one line of progress."""
    print(f"bootstrap: {message}", flush=True)


def fail(message):
    """End with one line that says what is wrong and what to try."""
    sys.exit(f"bootstrap: error: {message}")


if __name__ == "__main__":
    main()
