//go:build tools

// Package tools pins the Vault that demo, dev and the acceptance tests run.
// It is a module of its own: Vault's SDK does not go with the plugin's.
package tools

import _ "github.com/hashicorp/vault"
