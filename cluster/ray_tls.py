"""A key and a certificate of one start's own, so that Ray's processes talk to nobody but each other.

Ray Serve opens a port for calls between replicas on all interfaces, whatever address Ray was told, and takes pickled
values there. With these files every such port asks for the certificate that only this start's processes can show.
"""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Made anew at each start, so it need only outlast the longest run.
_VALID: Final = datetime.timedelta(days=3650)
# Clocks of one machine agree, but it may be set back after a start.
_EARLIER: Final = datetime.timedelta(days=1)


def ray_tls_environment(folder: Path) -> dict[str, str]:
    """Write a fresh key and certificate into `folder`, for this user only, and give Ray's variables that name them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_path, certificate_path = folder / "ray.key", folder / "ray.crt"
    _write(key_path, private)
    _write(certificate_path, _certificate(key).public_bytes(serialization.Encoding.PEM))
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_KEY": str(key_path),
        "RAY_TLS_SERVER_CERT": str(certificate_path),
        # The certificate vouches for itself: a caller must show this one and no other.
        "RAY_TLS_CA_CERT": str(certificate_path),
    }


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fenzhen")])
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
