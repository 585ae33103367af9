// SPDX-License-Identifier: MPL-2.0

// Calls ECGrid's REST API with a key that Vault holds. Needs Node.js 20 and no package.

import { readFile } from 'node:fs/promises';

const TIMEOUT = 10_000; // milliseconds, of a request to ECGrid or to Vault

/** A call failed. The message says what to do, and never holds a key. */
export class EcgridError extends Error {}

/** Reads the key from the file that Vault Agent writes. */
export const keyFromFile = (path) => () => readLine(path);

/** Reads the key from Vault, from a path such as ecgrid/static-creds/edi-gateway. */
export function keyFromVault({ address, path, token, tokenFile, namespace }) {
  const url = `${address.replace(/\/+$/, '')}/v1/${path}`;
  return async () => {
    const headers = {
      // Agent replaces the file, so it is read each time.
      'X-Vault-Token': tokenFile ? await readLine(tokenFile) : visible(token ?? '', 'VAULT_TOKEN'),
      'X-Vault-Request': 'true',
      ...(namespace && { 'X-Vault-Namespace': namespace }),
    };
    const { status, answer } = await get(url, headers, 'Vault');
    if (status !== 200) {
      const reasons = answer?.errors?.join(', ') || 'check the path, the token and its policy';
      throw new EcgridError(`Vault answered HTTP ${status} to a read of ${path}: ${reasons}`);
    }
    return visible(answer?.data?.api_key ?? '', path);
  };
}

/** Keeps the key in memory between calls. Calls may overlap. */
export class Ecgrid {
  #url;
  #readKey;
  #key; // the last one that was read
  #reading; // a promise of the key while it is being read

  constructor(url, readKey) {
    this.#url = url.replace(/\/+$/, '');
    this.#readKey = readKey;
  }

  /**
   * Calls GET /users/me and returns the user. If ECGrid refuses the key, it is read again.
   * The call is repeated once, and only with another key.
   */
  async me() {
    const key = await this.#keyOtherThan(undefined);
    let { status, answer } = await this.#get('/users/me', key);
    if (status === 401) {
      const newKey = await this.#keyOtherThan(key);
      if (newKey === key) {
        throw new EcgridError(
          'ECGrid refused the key (HTTP 401), and reading it again gave the same one: Vault Agent may need a ' +
            'moment to write a new key; otherwise check at ECGrid that the user is active',
        );
      }
      ({ status, answer } = await this.#get('/users/me', newKey));
    }
    if (status === 401) {
      throw new EcgridError(
        "ECGrid refused the key (HTTP 401): check in Vault that it is the right user's, and at ECGrid that the user is active",
      );
    }
    if (status !== 200) {
      throw new EcgridError(`ECGrid answered HTTP ${status} to GET /users/me: try again later`);
    }
    if (!answer?.data?.login) {
      throw new EcgridError(`malformed answer of ECGrid to GET /users/me: check the address ${this.#url}`);
    }
    return answer.data;
  }

  #get(path, key) {
    return get(this.#url + path, { 'X-API-Key': key }, 'ECGrid');
  }

  // Returns the key in memory, or reads it if that is the refused one. Calls that need it
  // at the same time share one read.
  async #keyOtherThan(refused) {
    if (this.#key !== refused) return this.#key;
    this.#reading ??= this.#readKey().finally(() => {
      this.#reading = undefined;
    });
    try {
      return (this.#key = await this.#reading);
    } catch (error) {
      const why = refused ? 'ECGrid refused the key (HTTP 401), and it cannot' : 'the key cannot';
      throw new EcgridError(`${why} be read: ${error.message}`, { cause: error });
    }
  }
}

/** Returns the status and the JSON value that the server answered. */
async function get(url, headers, server) {
  let status, text;
  try {
    // A redirect would send the key to another server.
    const response = await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT) });
    status = response.status;
    text = await response.text();
  } catch (error) {
    throw new EcgridError(`${server} gave no answer: ${error.cause?.message || error.message}`, { cause: error });
  }
  try {
    return { status, answer: JSON.parse(text) };
  } catch {
    return { status }; // of a proxy, for instance
  }
}

async function readLine(path) {
  return visible((await readFile(path, 'utf8')).trim(), path);
}

// Refuses what cannot be in a header. The error of fetch would show it.
function visible(value, source) {
  if (!/^[!-~]+$/.test(value)) {
    throw new EcgridError(`${source} must hold one line of visible ASCII characters: check what writes it`);
  }
  return value;
}
