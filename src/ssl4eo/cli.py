# SPDX-License-Identifier: Apache-2.0
"""The command line: a table of verbs, each a function whose signature is its parser.

Only the verb that is asked for is imported, so `ssl4eo --help` loads no torch. Results go to stdout, progress
and messages to stderr. Exit status: 0, 1 (a failure, one clear message), 2 (bad arguments), 75 (a run that was asked
to stop and left a checkpoint), 130 (interrupted), 141 (nobody reads its output any more).
"""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ssl4eo
from ssl4eo.errors import ConfigInvalid, RunStopped, Ssl4eoError, UnknownName, unknown_name
from ssl4eo.memory import is_shortage, shortage


@dataclass(frozen=True)
class Verb:
    """One line of `ssl4eo --help`."""

    title: str

    def module(self, name: str) -> Any:
        """Import what does the work: `run`, or `build_parser` and `run_parsed` where arguments decide the parser."""
        return import_module(f"ssl4eo.commands.{name}")


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "demo": Verb("synthetic planet -> archive -> pre-train -> evaluate -> report, on a CPU"),
        "locations": Verb("places to collect: draw them, or take them from a list, and look at them"),
        "collect": Verb("fetch places and seasons from Earth Engine, STAC or the synthetic planet into an archive"),
        "ledger": Verb("say what became of the places of a collection, and try some again"),
        "download": Verb("fetch a published data set or benchmark, resumed and checked"),
        "pack": Verb("convert a published layout into an archive"),
        "info": Verb("say what is in an archive"),
        "show": Verb("draw one location of an archive: seasons by modalities"),
        "gallery": Verb("look at an archive in a browser: a map, every place in all seasons; served or a static site"),
        "stats": Verb("show mean, deviation and histogram of every band, beside the published figures"),
        "verify": Verb("check every byte of an archive"),
        "unpack": Verb("write an archive as GeoTIFFs, pictures, LMDB or WebDataset for others to read"),
        "doctor": Verb("measure the stages of a run on this machine and say what to change"),
        "pretrain": Verb("pre-train a network by a recipe"),
        "recipes": Verb("list recipes, or show one in full"),
        "checkpoints": Verb("published weights: list, show, fetch; any weights: inspect, export"),
        "evaluate": Verb("judge a network on a task by k-NN and a linear probe"),
        "embed": Verb("write what a network makes of every location to GeoParquet"),
        "like": Verb("find the locations that look like one, by their embeddings"),
        "report": Verb("make tables, figures and a page from recorded results"),
    }
)

BAD_ARGUMENTS = (ConfigInvalid, UnknownName)
"""Errors that mean that the command line asks for something that cannot be; all others are failures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and give the exit status; never shows a traceback for an error that we foresee."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("lightning_fabric", "lightning.fabric", "httpx", "distributed"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        return _dispatch(arguments)
    except Ssl4eoError as error:
        return _fail(error, _status(error))
    except KeyboardInterrupt:
        print(f"ssl4eo: interrupted{_kept(arguments)}", file=sys.stderr)  # noqa: T201 - the command line
        return 130
    except OSError as error:
        return _READER_GONE if isinstance(error, BrokenPipeError) and _reader_is_gone() else _fail(_foreseen(error), 1)
    except (MemoryError, RuntimeError) as error:
        return _fail(_too_large(error), 1)


def _status(error: Ssl4eoError) -> int:
    if isinstance(error, BAD_ARGUMENTS):
        return 2
    return 75 if isinstance(error, RunStopped) else 1


_READER_GONE = 128 + 13
"""Status of a program that SIGPIPE ends, as shells give it."""


def _reader_is_gone() -> bool:
    """Say whether nobody reads stdout any more, as in `ssl4eo recipes list --json | head -1`; what is left is dropped.

    A broken pipe may also be one to a process of ours that died; that is a failure.
    """
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # somebody's object, such as a notebook's
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # no event is asked for: an error is told all the same
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # the interpreter flushes once more at its end
    return True


def _kept(arguments: Sequence[str]) -> str:
    """Say how an interrupted command goes on, where it does."""
    if arguments[:1] == ["pretrain"]:
        if _has_no_checkpoint(arguments):
            return "; there was no checkpoint yet: the same command with --resume begins anew"
        return "; what was finished is kept: the same command with --resume goes on"
    goes_on = ("checkpoints", "collect", "demo", "download", "embed", "evaluate", "gallery", "pack", "unpack")
    return "; what was finished is kept: the same command goes on" if arguments[:1] and arguments[0] in goes_on else ""


def _has_no_checkpoint(arguments: Sequence[str]) -> bool:
    """Say whether the run that --out names, if it does, has written none."""
    told = [*(a.removeprefix("--out=") for a in arguments if a.startswith("--out="))]
    told += [value for option, value in pairwise(arguments) if option == "--out"]
    return bool(told) and not any(Path(told[-1]).glob("checkpoints/*.pt"))


def _foreseen(error: OSError) -> object:
    """Give the message for what the system refuses; what it did not number is a fault of ours and raised again."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error}); free some space and run the same command again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"nothing can be written or read there ({error}); choose another folder, or change its rights"
    if error.errno is None:
        raise error
    return error


def _too_large(error: Exception) -> str:
    """Give the message for want of memory; anything else is a fault of ours and raised again."""
    if not is_shortage(error):
        raise error
    return f"no memory for this ({shortage(error)}); use less at a time, or a larger machine"


def _dispatch(arguments: list[str]) -> int:
    status = _run_verb(arguments)
    print(end="", flush=True)  # noqa: T201 - a reader that has gone shows here, not when the interpreter ends
    return status


def _run_verb(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())  # noqa: T201 - the command line
        return 0
    if arguments[0] == "--version":
        print(ssl4eo.__version__)  # noqa: T201 - the command line
        return 0
    name = arguments[0]
    if name not in VERBS:
        raise unknown_name("command", name, VERBS)
    module = VERBS[name].module(name)
    from ssl4eo.commands.parsing import call, function_parser, parse

    has_own = hasattr(module, "build_parser")
    parser = module.build_parser(arguments[1:]) if has_own else function_parser(name, module.run)
    values = parse(parser, arguments[1:])
    _require_outside(values.get("out"))
    if has_own:
        return int(module.run_parsed(parser, values) or 0)
    return call(module.run, parser.instantiate(values).as_dict())


def _require_outside(out: object) -> None:
    """Refuse to write into an archive, whatever the verb."""
    if out is not None:
        from ssl4eo.archive.journal import require_outside

        require_outside(Path(str(out)))


def _overview() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.title}" for name, verb in VERBS.items())
    return (
        f"ssl4eo {ssl4eo.__version__}: self-supervised learning for Earth observation\n\n"
        f"usage: ssl4eo COMMAND [options]     ssl4eo COMMAND --help\n\n{rows}"
    )


def _fail(error: object, status: int) -> int:
    if not getattr(error, "told", False):
        print(f"ssl4eo: {error}", file=sys.stderr)  # noqa: T201 - the command line
    return status


if __name__ == "__main__":
    sys.exit(main())
