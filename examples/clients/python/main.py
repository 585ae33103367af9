# SPDX-License-Identifier: MPL-2.0

"""Shows how an application calls ECGrid with a key from Vault. See ../README.md for its settings."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from ecgrid import Ecgrid, EcgridError, KeyFile, VaultKey


def main():
    client = Ecgrid(os.environ.get("ECGRID_URL", "https://rest.ecgrid.io/v2"), key_source())
    interval = float(os.environ.get("INTERVAL", "10"))  # seconds
    callers = int(os.environ.get("CALLERS", "1"))
    with ThreadPoolExecutor(callers) as pool:
        while True:
            for line in pool.map(call, [client] * callers):
                print(line, flush=True)
            time.sleep(interval)


def call(client):
    try:
        return f"ok {client.me()['login']}"
    except EcgridError as error:
        return f"error: {error}"


def key_source():
    env = os.environ.get
    if env("ECGRID_API_KEY_FILE"):
        return KeyFile(env("ECGRID_API_KEY_FILE"))
    return VaultKey(
        env("VAULT_ADDR", "https://127.0.0.1:8200"),
        env("ECGRID_VAULT_PATH", "ecgrid/static-creds/edi-gateway"),
        token=env("VAULT_TOKEN"),
        token_file=env("VAULT_TOKEN_FILE"),
        namespace=env("VAULT_NAMESPACE"),
        ca_file=env("VAULT_CACERT"),
    )


if __name__ == "__main__":
    main()
