# SPDX-License-Identifier: Apache-2.0
"""Downloads that end with the right file or a clear error: a table of what is published, and the engine.

`table.py` says what and where, `run.py` fetches a data set, `fetch.py` one file, `remote.py` reads one without a disk,
`part.py` hands that to whoever reads files in parts, `extract.py` unpacks. Loads no torch. Turning what was downloaded
into an archive is `ssl4eo.packing`.
"""

from ssl4eo.download.entry import Checksum, Dataset, DriveFile, FileEntry, HubListing
from ssl4eo.download.extract import archives_of, extract
from ssl4eo.download.fetch import Fetched, fetch
from ssl4eo.download.http import Client, Retry
from ssl4eo.download.part import RemotePart, remote_parts
from ssl4eo.download.remote import Joined, RemoteFile
from ssl4eo.download.run import Plan, Planned, download, plan, resolve
from ssl4eo.download.table import DATASETS, find_dataset

__all__ = [
    "DATASETS",
    "Checksum",
    "Client",
    "Dataset",
    "DriveFile",
    "Fetched",
    "FileEntry",
    "HubListing",
    "Joined",
    "Plan",
    "Planned",
    "RemoteFile",
    "RemotePart",
    "Retry",
    "archives_of",
    "download",
    "extract",
    "fetch",
    "find_dataset",
    "plan",
    "remote_parts",
    "resolve",
]
