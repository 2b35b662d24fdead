"""`heliograph make-certificates`: an authority of one's own, and a certificate for the hub and the broker.

In: a folder and the names under which others reach this machine. Out: files in it; what is there and still good stays,
so that the command can be run again at any time. OpenSSL makes them.

    ca.pem  ca-key.pem  certificate.pem  key.pem  fingerprint
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import os
import re
import secrets
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from heliograph_server.errors import SetupError

DAYS, CA_DAYS = 825, 3650
RENEW = 30
"""Days before its end at which a certificate is made anew."""
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")
_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {common}
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(args: argparse.Namespace) -> int:
    if args.days < 1:
        raise SetupError("--days must be at least 1")
    made = make(args.folder, args.names, days=args.days, renew=args.renew)
    print(f"{args.folder}: {', '.join(made) if made else 'everything was there'}")
    print(f"fingerprint {(args.folder / 'fingerprint').read_text(encoding='ascii').strip()}")
    return 0


def make(folder: Path, names: Sequence[str], *, days: int = DAYS, renew: bool = False) -> list[str]:
    """Make what is missing, ends soon or has other names; returns which files were written. Raises SetupError."""
    wanted = sorted({_alternative(name) for name in names})
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _make(folder, names[0], wanted, days=days, renew=renew)
    except FileNotFoundError as error:
        if error.filename != "openssl":
            raise
        raise SetupError("openssl is not there; install it, or make certificates elsewhere") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        raise SetupError(f"openssl could not make certificates in {folder}: {said[-1] if said else error}") from None
    except OSError as error:
        raise SetupError(f"{error.filename or folder}: {error.strerror}") from None


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the certificate, which is what agents know it by."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    return "sha256:" + hashlib.sha256(der).hexdigest()


def _make(folder: Path, first: str, wanted: list[str], *, days: int, renew: bool) -> list[str]:
    made = []
    ca, certificate = folder / "ca.pem", folder / "certificate.pem"
    with tempfile.TemporaryDirectory(dir=folder) as name:  # mode 0700, on the file system where the files belong
        work = Path(name)
        if not (ca.exists() and (folder / "ca-key.pem").exists()):
            _config(work, "Heliograph CA", wanted)
            out = ("-keyout", "ca-key.pem", "-out", "ca.pem")
            _openssl(work, "req", "-x509", *_KEY, "-days", str(CA_DAYS), "-extensions", "ca", "-config", "config", *out)
            made += _keep(work, folder, "ca-key.pem", "ca.pem")
        if made or renew or not (folder / "key.pem").exists() or not _good(certificate, wanted):
            _config(work, first[:64], wanted)
            _openssl(work, "req", "-new", *_KEY, "-config", "config", "-keyout", "key.pem", "-out", "request.pem")
            authority = ("-CA", str(ca.absolute()), "-CAkey", str((folder / "ca-key.pem").absolute()))
            serial = ("-set_serial", str(secrets.randbits(120)))
            extensions = ("-extfile", "config", "-extensions", "server")
            out = ("-days", str(days), "-out", "certificate.pem")
            _openssl(work, "x509", "-req", "-in", "request.pem", *authority, *serial, *extensions, *out)
            made += _keep(work, folder, "key.pem", "certificate.pem")
        digits = fingerprint(certificate) + "\n"
        if not (folder / "fingerprint").exists() or (folder / "fingerprint").read_text(encoding="ascii") != digits:
            (work / "fingerprint").write_text(digits, encoding="ascii")
            made += _keep(work, folder, "fingerprint")
    return made


def _alternative(name: str) -> str:
    """A host name or address as a certificate holds it."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        if len(name) > 253 or not _NAME.fullmatch(name):
            raise SetupError(f"{name!r} is neither a host name nor an IP address") from None
        return f"DNS:{name}"


def _good(certificate: Path, wanted: list[str]) -> bool:
    """Whether it holds these names, and for a while."""
    if not certificate.exists():
        return False
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"]
    command += ["-checkend", str(RENEW * 86400)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"(DNS|IP Address):([^,\s]+)", ran.stdout)
    return ran.returncode == 0 and sorted({_alternative(value) for _, value in found}) == wanted


def _config(work: Path, common: str, names: list[str]) -> None:
    (work / "config").write_text(_CONFIG.format(common=common, names=",".join(names)), encoding="ascii")


def _openssl(work: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=work, check=True, capture_output=True, text=True, umask=0o077)


def _keep(work: Path, folder: Path, *names: str) -> list[str]:
    for name in names:
        if not name.endswith("key.pem"):
            os.chmod(work / name, 0o644)  # whoever connects may know it
        os.replace(work / name, folder / name)
    return list(names)
