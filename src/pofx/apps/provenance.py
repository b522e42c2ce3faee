"""Where a picture is from: a manifest inside the PNG file, in the terms of C2PA, signed where a key is given.

The manifest is JSON in a text chunk: what made the picture, by which action ("trainedAlgorithmicMedia"), and the
hash of its pixels. Without a key it is unsigned, and states so: whoever can edit the file can change or remove it.
With a key the signature (HMAC-SHA256 of a shared secret, or Ed25519 of a private key) proves that the holder of
the key wrote this manifest for these pixels. It is not a C2PA manifest store (no certificate chain), and a
screenshot has none: to mark the pixels themselves see `watermark`.
"""

import base64
import hashlib
import hmac
import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from pofx import __version__
from pofx.core.errors import DataError, UsageError
from pofx.core.files import digest
from pofx.parts import Parts

PUBLIC = ("provenance",)

CHUNK = "pofx.manifest"
START = b"\x89PNG\r\n\x1a\n"
PEM = b"-----BEGIN"
UNSIGNED = "unsigned: whoever can edit this file can change or remove this manifest"


@dataclass(frozen=True)
class Provenance:
    """What a PNG states about itself: its manifest, whether the pixels are those it was written for, and whether the
    signature is that of the key (None without a signature or a key)."""

    manifest: Mapping[str, Any]
    pixels_match: bool
    signed: bool
    signature_valid: bool | None


def manifest(run: Parts, about: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of samples of a run; `about` holds the seed and the like.

    The hash of the run is that of its model, representation and card, as plain values.
    """
    data = run.card.get("data") or {}
    of = {"model": run.name, "data": data.get("name"), "data_sha256": data.get("hash"), "card": digest_of(run), **about}
    return {
        "claim_generator": f"pofx/{__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {
                    "actions": [{"action": "c2pa.created", "digitalSourceType": "trainedAlgorithmicMedia",
                                 "softwareAgent": f"pofx {__version__}"}]
                },
            },
            {"label": "pofx.run", "data": of},
        ],
    }  # fmt: skip


def digest_of(run: Parts) -> str:
    """The hash of the card of a run."""
    from pofx.core.config import plain

    return digest(plain(dict(run.card)))


def stamped(png: bytes, plain: Mapping[str, Any], key: bytes | None = None) -> bytes:
    """The PNG with the manifest for its pixels; other bytes of it stay as they are.

    Raises:
        DataError: no PNG.
        UsageError: a PEM key that is no Ed25519 private key, or `cryptography` is missing.
    """
    if not png.startswith(START):
        raise DataError("a manifest is written into PNG files: choose a name ending in .png")
    whole: dict[str, Any] = {**plain, "hash": {"alg": "sha256", "of": "pixels", "value": _pixels(png)}}
    whole["signature"] = None if key is None else _signature(_message(whole), key)
    whole["note"] = UNSIGNED if key is None else "signed: see signature"
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    content = CHUNK.encode() + b"\0\0\0\0\0" + text.encode()  # iTXt: no compression, no language, no translation
    chunk = struct.pack(">I", len(content)) + b"iTXt" + content + struct.pack(">I", zlib.crc32(b"iTXt" + content))
    end = len(START) + 12 + 13  # behind the header chunk
    return png[:end] + chunk + png[end:]


def stamp(run: Parts, key: bytes | None = None, **about: Any) -> Callable[[bytes], bytes]:
    """A function that writes the manifest of a run into the content of PNG files, and leaves others as they are."""
    plain = manifest(run, about)
    return lambda content: stamped(content, plain, key) if content.startswith(START) else content


def provenance(png: bytes | str | Path, key: bytes | None = None) -> Provenance | None:
    """What a PNG file or its content states about itself; None where it has no manifest.

    Args:
        key: the shared secret, or an Ed25519 public key as PEM.

    Raises:
        DataError: no PNG, or a damaged one.
    """
    content = png if isinstance(png, bytes) else Path(png).read_bytes()
    try:
        text = getattr(Image.open(BytesIO(content)), "text", {}).get(CHUNK)
        found = None if text is None else json.loads(text)
        pixels = _pixels(content)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"the picture cannot be read ({error}): give a .png file") from error
    if not isinstance(found, dict):
        return None
    signature = found.get("signature")
    same = isinstance(found.get("hash"), dict) and found["hash"].get("value") == pixels
    valid = None
    if isinstance(signature, dict) and key is not None:
        unsigned = {k: v for k, v in found.items() if k not in ("signature", "note")}
        valid = same and _verified(_message(unsigned), signature, key)
    return Provenance(found, same, isinstance(signature, dict), valid)


def _pixels(png: bytes) -> str:
    with Image.open(BytesIO(png)) as image:
        return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


def _message(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(plain), sort_keys=True, separators=(",", ":")).encode()


def _signature(message: bytes, key: bytes) -> dict[str, str]:
    if not key.lstrip().startswith(PEM):
        if len(key.strip()) < 16:
            raise UsageError(
                f"a key must have at least 16 bytes (got {len(key.strip())}): write 32 random ones to a file"
            )
        made = hmac.new(key.strip(), message, hashlib.sha256).digest()
        return {"alg": "HMAC-SHA256", "value": base64.b64encode(made).decode()}
    private = _pem(key, private=True)
    return {"alg": "Ed25519", "value": base64.b64encode(private.sign(message)).decode()}


def _verified(message: bytes, signature: Mapping[str, Any], key: bytes) -> bool:
    try:
        value = base64.b64decode(str(signature.get("value")), validate=True)
    except ValueError:
        return False
    if signature.get("alg") == "HMAC-SHA256" and not key.lstrip().startswith(PEM):
        return hmac.compare_digest(value, hmac.new(key.strip(), message, hashlib.sha256).digest())
    if signature.get("alg") == "Ed25519" and key.lstrip().startswith(PEM):
        from cryptography.exceptions import InvalidSignature

        public = _pem(key, private=False)
        try:
            public.verify(value, message)
        except InvalidSignature:
            return False
        return True
    return False


def _pem(key: bytes, *, private: bool) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    except ImportError as error:
        raise UsageError("keys in PEM files need the extra `sign`: pip install pofx[sign]") from error
    try:
        if private or b"PRIVATE" in key:
            found = serialization.load_pem_private_key(key, None)
            if isinstance(found, Ed25519PrivateKey):
                return found if private else found.public_key()
        else:
            public = serialization.load_pem_public_key(key)
            if isinstance(public, Ed25519PublicKey):
                return public
    except (ValueError, TypeError) as error:
        raise UsageError(f"the key cannot be read ({error}): give an Ed25519 key as PEM, without a password") from error
    raise UsageError("the key must be an Ed25519 key (got another type): openssl genpkey -algorithm ed25519 makes one")
