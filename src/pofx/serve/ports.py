"""Where a server listens: checked before anything is printed, so that a port that is taken is one sentence."""

import socket

from pofx.core.errors import UsageError


def listening(host: str, port: int) -> int:
    """The port, or a free one in place of 0.

    Raises:
        UsageError: it is taken, may not be opened, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(
                f"{host} port {port} cannot be opened ({reason}): pass another --port (0: any free one) or --host"
            ) from error
        return int(tried.getsockname()[1])
