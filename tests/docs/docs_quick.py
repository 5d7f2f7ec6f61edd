"""`medlocker`, `mlflow` and `python` for the shell of a page, answered by forks of one process that has imported both.

A command on its own takes seconds to import torch and MLflow; a page has dozens. Each fork gets the caller's arguments,
folder, environment and standard streams, so that redirections, pipes and exit codes are the real ones.

Run as a program, this file is the process that forks: `python quick.py SOCKET`.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("medlocker", "mlflow", "python")
_SHIM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    call = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(line, [len(call).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(call)
    code = line.recv(1)
sys.exit(code[0] if code else "the command died")
"""


@contextmanager
def quick_commands(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Commands in a folder, to be put first in PATH.

    Args:
        folder: a new folder with a short path (a socket's name is limited to 107 bytes).
        environment: of the process that forks.
    """
    folder.mkdir()
    address = str(folder / "line")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())], pass_fds=[listening.fileno()], env=environment
        )
    for name in NAMES:
        shim = folder / name
        shim.write_text(_SHIM.format(python=sys.executable, address=address))
        shim.chmod(0o755)
    try:
        yield folder
    finally:
        server.terminate()
        server.wait(20)


def _serve(listening: socket.socket) -> None:
    import onnxruntime  # noqa: F401
    import torch

    import medlocker.cli.protect  # noqa: F401
    import medlocker_mlflow.evaluating  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Ended children are not waited for.
    while True:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _answer(line)
        line.close()


def _answer(line: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    size, body = int.from_bytes(head, "big"), b""
    while len(body) < size:
        body += line.recv(size - len(body))
    words, folder, environment = json.loads(body)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = _run(words)
    sys.stdout.flush()
    sys.stderr.flush()
    line.sendall(bytes([code & 255]))
    os._exit(0)


def _run(words: list[str]) -> int:
    try:
        _call(words)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _call(words: list[str]) -> None:
    name, *rest = words
    sys.path.insert(0, str(Path.cwd()))
    if name == "mlflow":
        import mlflow.cli

        mlflow.cli.cli(rest, prog_name="mlflow")
    elif name == "medlocker":
        from medlocker.cli import main

        main(rest, prog_name="medlocker")
    elif rest[:1] == ["-m"]:
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    elif rest[:1] == ["-c"]:
        sys.argv = ["-c", *rest[2:]]
        exec(rest[1], {"__name__": "__main__"})
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
