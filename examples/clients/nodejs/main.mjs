// SPDX-License-Identifier: MPL-2.0

// Shows how an application calls ECGrid with a key from Vault. See ../README.md for its settings.

import { setTimeout as sleep } from 'node:timers/promises';
import { Ecgrid, keyFromFile, keyFromVault } from './ecgrid.mjs';

const {
  ECGRID_URL = 'https://rest.ecgrid.io/v2',
  ECGRID_API_KEY_FILE,
  ECGRID_VAULT_PATH = 'ecgrid/static-creds/edi-gateway',
  VAULT_ADDR = 'https://127.0.0.1:8200',
  VAULT_TOKEN,
  VAULT_TOKEN_FILE,
  VAULT_NAMESPACE,
  INTERVAL = '10', // seconds
  CALLERS = '1',
} = process.env;

const readKey = ECGRID_API_KEY_FILE
  ? keyFromFile(ECGRID_API_KEY_FILE)
  : keyFromVault({
      address: VAULT_ADDR,
      path: ECGRID_VAULT_PATH,
      token: VAULT_TOKEN,
      tokenFile: VAULT_TOKEN_FILE,
      namespace: VAULT_NAMESPACE,
    });
const client = new Ecgrid(ECGRID_URL, readKey);

async function call() {
  try {
    console.log('ok', (await client.me()).login);
  } catch (error) {
    console.log('error:', error.message);
  }
}

for (;;) {
  await Promise.all(Array.from({ length: Number(CALLERS) }, call));
  await sleep(Number(INTERVAL) * 1000);
}
