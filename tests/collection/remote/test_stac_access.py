# SPDX-License-Identifier: Apache-2.0
"""Requests to S3 are signed as Amazon says and as GDAL signs them; who pays is told; keys come from the environment."""

from __future__ import annotations

import datetime as dt

import pytest
import rasterio
from stac_server import StacServer

from ssl4eo.collection.remote.stac.catalogs import catalog
from ssl4eo.collection.remote.stac.profile import Bucket
from ssl4eo.collection.remote.stac.s3 import credentials, object_url, signed_headers
from ssl4eo.errors import ConfigInvalid


def test_the_signature_is_that_of_amazon_s_own_example() -> None:
    """Source: Amazon S3 API reference, examples of signature calculations: GET object with a range."""
    keys = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "")
    url = "https://examplebucket.s3.amazonaws.com/test.txt"
    now = dt.datetime(2013, 5, 24, tzinfo=dt.UTC)

    headers = signed_headers(url, keys, region="us-east-1", now=now, extra={"range": "bytes=0-9"})

    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.parametrize("session", ["", "TOKEN"])
@pytest.mark.parametrize("key", ["tiles/32/U/PU/2021/6/21/0/B02.jp2", "a folder/T32~UPU+(1).tif"])
def test_the_signature_is_that_which_gdal_sends(key: str, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL's /vsis3/ asks the stand-in; its headers are signed anew with the same time and compared."""
    with StacServer() as server:
        options = {
            "AWS_S3_ENDPOINT": server.root.removeprefix("http://"),
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_REGION": "eu-central-1",
            "AWS_REQUEST_PAYER": "requester",
            "AWS_ACCESS_KEY_ID": "KEY",
            "AWS_SECRET_ACCESS_KEY": "SECRET",
            **({"AWS_SESSION_TOKEN": session} if session else {}),
        }
        for name, value in options.items():  # rasterio wants boto3 for these; GDAL reads the environment
            monkeypatch.setenv(name, value)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(f"/vsis3/bucket/{key}")
        gdal = next(
            asked.headers for asked in server.asked if asked.method == "GET" and "authorization" in asked.headers
        )
    url = object_url(Bucket(endpoint=server.root, region="eu-central-1"), "bucket", key)
    now = dt.datetime.strptime(gdal["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)

    ours = signed_headers(
        url, ("KEY", "SECRET", session), region="eu-central-1", now=now, extra={"x-amz-request-payer": "requester"}
    )

    assert ours["authorization"].rpartition("Signature=")[2] == gdal["authorization"].rpartition("Signature=")[2]


def test_the_session_token_is_signed_and_sent() -> None:
    """Keys of a role hold with their token only."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    headers = signed_headers("https://b.s3.us-west-2.amazonaws.com/k", ("K", "S", "T"), region="us-west-2", now=now)

    assert headers["x-amz-security-token"] == "T"
    assert "x-amz-security-token" in headers["authorization"]


def test_missing_keys_are_named_with_who_pays() -> None:
    """The message says which variables and why."""
    bucket = catalog("earth-search").buckets["sentinel-s2-l1c"]

    with pytest.raises(
        ConfigInvalid, match=r"no AWS_SECRET_ACCESS_KEY in .*s3://sentinel-s2-l1c, whose requester pays"
    ):
        credentials(bucket, "sentinel-s2-l1c", {"AWS_ACCESS_KEY_ID": "K"})


def test_keys_of_the_environment_are_taken() -> None:
    """A session token may be unset."""
    bucket = Bucket()
    pair = {"AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"}

    assert credentials(bucket, "b", pair) == ("K", "S", "")
    assert credentials(bucket, "b", {**pair, "AWS_SESSION_TOKEN": "T"}) == ("K", "S", "T")
