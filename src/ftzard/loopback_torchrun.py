"""torchrun with its store on the loopback interface: `python -m ftzard.loopback_torchrun [torchrun's options]`.

torchrun opens its store on every interface, whatever address it is given, and the store asks nobody who they are. In
one process it opens none on a port that has one, so it is given one that only this machine can talk to.
"""

import socket
import sys
from collections.abc import Sequence
from typing import Final

_LOOPBACK: Final = "127.0.0.1"


def main(arguments: Sequence[str]) -> None:
    """Run torchrun for processes of this machine.

    Raises:
        SystemExit: As torchrun does.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented there, and not declared
    from torch.distributed.run import main as torchrun

    listener = socket.create_server((_LOOPBACK, 0))
    port = listener.getsockname()[1]
    # Kept to the end: with it the store would go.
    store = TCPStore(
        _LOOPBACK,
        port,
        is_master=True,
        wait_for_workers=False,
        multi_tenant=True,
        master_listen_fd=listener.detach(),
    )
    # Static: torchrun's other rendezvous unpickles what it finds in its store.
    rendezvous = ("--rdzv-backend", "static", "--master-addr", store.host, "--master-port", str(store.port))
    torchrun(["--nnodes", "1", "--node-rank", "0", *rendezvous, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
