# SPDX-License-Identifier: Apache-2.0
"""The command line and Python without their imports: a server that has imported the heavy modules forks for each call.

Programs called `ssl4eo` and `python` hand their arguments, folder, environment and standard streams to the server over
a unix socket; a process forked for them does the work with these, and its status comes back. Nothing is kept between
calls. How a command starts is not shown by this: tests of that start a real one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import Any

HEAVY = ("ssl4eo.commands.collect", "ssl4eo.commands.evaluate", "ssl4eo.commands.locations", "ssl4eo.commands.pretrain",
         "ssl4eo.commands.report", "ssl4eo.commands.verify", "ssl4eo.commands.parsing", "ssl4eo.pretraining.loop",
         "pyarrow.parquet", "sklearn.manifold", "timm", "torch._dynamo")  # fmt: skip
"""What is imported once."""
_CLIENT = """#!{python} -SI
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    told = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(told)
    status = server.recv(1)
sys.exit(status[0] if status else "the server has gone")
"""


@contextlib.contextmanager
def served_programs(folder: Path) -> Generator[None]:
    """Write `ssl4eo` and `python` into a folder, and serve them until the end."""
    home = Path(tempfile.mkdtemp(prefix="ssl4eo-"))  # short: addresses of sockets have 107 bytes at most
    address = home / "socket"
    for name in ("ssl4eo", "python"):
        client = _CLIENT.format(python=sys.executable, address=str(address), name=name)
        (folder / name).write_text(client, encoding="utf-8")
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()  # from now on a client waits for the server's imports
        command = [sys.executable, __file__, str(listener.fileno())]
        server = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)


def _serve(listener: socket.socket) -> None:
    """Fork for every client: one after another, as shells start them, or side by side, as pipes do."""
    for name in HEAVY:
        import_module(name)
    gc.collect()
    gc.freeze()  # else each fork would copy, and go through, a million objects when it ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who watches
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _watch(client)
            os._exit(0)
        client.close()


def _watch(client: socket.socket) -> None:
    """Let a process of its own do what a client asks for, and tell the client how it ended."""
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    told = b""
    while len(told) < int.from_bytes(head, "big"):
        told += client.recv(1 << 16)
    worker = os.fork()
    if worker == 0:
        client.close()
        _work(streams, *json.loads(told))
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    client.sendall(bytes([code if code >= 0 else 128 - code]))  # a signal as shells give it


def _work(streams: list[int], name: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the program, and end as one: streams are flushed, what runs at exit is run."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name, *arguments]
    sys.path[0] = ""
    raise SystemExit(_run(name, arguments))


def _run(name: str, arguments: list[str]) -> Any:
    if name == "ssl4eo":
        from ssl4eo.cli import main

        return main()
    option, code = arguments
    if option != "-c":
        return f"python {option} is not served"
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    return 0


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
