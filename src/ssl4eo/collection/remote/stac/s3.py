# SPDX-License-Identifier: Apache-2.0
"""Signatures of Amazon's S3, version 4, for GET requests: what CDSE and the requester-pays buckets of AWS ask for.

botocore does this too, in 15 MB; one kind of request needs these 40 lines. Tests compare with the published example and
with the headers that GDAL's /vsis3/ sends.
Source: AWS, Authenticating Requests (AWS Signature Version 4), Amazon S3 API reference.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import os
import urllib.parse
from collections.abc import Mapping

from ssl4eo.collection.remote.stac.profile import Bucket
from ssl4eo.errors import ConfigInvalid

_EMPTY = hashlib.sha256(b"").hexdigest()


def object_url(bucket: Bucket, name: str, key: str) -> str:
    """Give the address of an object.

    >>> object_url(Bucket(region="eu-central-1"), "sentinel-s2-l1c", "tiles/32/B02.jp2")
    'https://sentinel-s2-l1c.s3.eu-central-1.amazonaws.com/tiles/32/B02.jp2'
    """
    path = urllib.parse.quote(key, safe="/-_.~")
    if bucket.endpoint:
        return f"{bucket.endpoint.rstrip('/')}/{name}/{path}"
    return f"https://{name}.s3.{bucket.region}.amazonaws.com/{path}"


def credentials(bucket: Bucket, name: str, environment: Mapping[str, str] | None = None) -> tuple[str, str, str]:
    """Read access key, secret key and session token (may be empty) from the environment.

    Raises:
        ConfigInvalid: a key is not there.
    """
    variables = os.environ if environment is None else environment
    missing = [v for v in (bucket.key_variable, bucket.secret_variable) if not variables.get(v)]
    if missing:
        raise ConfigInvalid(
            f"no {' and no '.join(missing)} in the environment",
            expected=f"keys for s3://{name}" + (", whose requester pays" if bucket.requester_pays else ""),
            remedy="see docs/stac.md for where to get them",
        )
    session = variables.get(bucket.session_variable, "") if bucket.session_variable else ""
    return variables[bucket.key_variable], variables[bucket.secret_variable], session


def signed_headers(
    url: str,
    keys: tuple[str, str, str],
    *,
    region: str,
    now: dt.datetime,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give the headers of a signed GET.

    Args:
        url: of the object, without a query.
        keys: access key, secret key, session token (may be empty).
        region: that the bucket is in.
        now: time of the request [UTC].
        extra: further headers that are signed and sent, names in lower case.
    """
    parts = urllib.parse.urlsplit(url)
    access, secret, session = keys
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp, **(extra or {})}
    if session:
        headers["x-amz-security-token"] = session
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"GET\n{parts.path}\n\n{listed}\n{names}\n{_EMPTY}"
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (f"{now:%Y%m%d}", region, "s3", "aws4_request"):
        key = _keyed(key, part)
    signature = _keyed(key, text).hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
