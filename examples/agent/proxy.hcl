# SPDX-License-Identifier: MPL-2.0

# Proxy serves Vault's API to the applications of one machine, and logs in for them. They
# need no token.
#
#   vault proxy -config=proxy.hcl

vault {
  address = "https://vault.example.com:8200"
  # ca_cert = "/etc/vault-agent/vault-ca.pem"   # or VAULT_CACERT

  # While Vault is down, a request is answered with 500 after a second. Without this, it
  # waits for a minute.
  retry {
    num_retries = 1
  }
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/vault-agent/role_id"
      secret_id_file_path                 = "/etc/vault-agent/secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

api_proxy {
  # Every request has Proxy's token, also one that brings another token.
  use_auto_auth_token = "force"
}

# Leased secrets are shared and renewed. Secrets without a lease are read from Vault each
# time: static_secret_caching caches only KV, and needs Vault Enterprise.
cache {}

listener "tcp" {
  address     = "127.0.0.1:8100" # every process on this machine can read the key
  tls_disable = true

  # Vault's clients send X-Vault-Request. A browser that is tricked into a request does not.
  require_request_header = true
}
