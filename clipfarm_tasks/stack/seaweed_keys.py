"""Keys with which the parts of a SeaweedFS know each other, so that its inner ports answer nobody else.

By itself only S3 asks for signatures: master, volume server, filer and admin serve whoever reaches their ports. With
these keys, HTTP wants a token, and gRPC a client certificate that only a reader of the folder has.
"""

import datetime as dt
import json
import secrets
from pathlib import Path

from clipfarm_tasks.stack.private_file import write_private

_CONFIGURATION = "security.toml"  # the name that weed looks for in its -config_dir
_CERTIFICATE = "parts.pem"
_TOKENS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_PARTS = ("admin", "client", "filer", "master", "s3", "volume", "worker")
_TOKEN_S = 600  # from the making of a token to its check; at weed's 10 s, a busy machine would lose requests
_CLOCKS_DIFFER_BY = dt.timedelta(days=1)
_VALID_FOR = dt.timedelta(days=3650)


def write_keys(folder: Path) -> None:
    """Draw keys into ``folder``, readable by this user only; keep those that are there: a server may be using them.

    Args:
        folder: made if need be; what weed's ``-config_dir`` names. Its path becomes part of the configuration.
    """
    if (folder / _CONFIGURATION).exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate = write_private(folder.resolve() / _CERTIFICATE, _certificate())
    pem = json.dumps(str(certificate), ensure_ascii=False)  # TOML quotes as JSON does
    sections = [
        f'[{name}]\nkey = "{secrets.token_urlsafe(32)}"\nexpires_after_seconds = {_TOKEN_S}' for name in _TOKENS
    ]
    sections += [f"[grpc]\nca = {pem}", *(f"[grpc.{name}]\ncert = {pem}\nkey = {pem}" for name in _PARTS)]
    write_private(folder / _CONFIGURATION, "\n".join([*sections, ""]))  # last: it vouches for the certificate


def _certificate() -> str:
    """A private key and the certificate that it has signed itself: the authority and its only member."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "seaweedfs")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (pem + certificate.public_bytes(serialization.Encoding.PEM)).decode()
