// SPDX-License-Identifier: MPL-2.0

//go:build tools

// Package tools pins the Vault that demo, dev and the acceptance tests run. It is a module
// of its own, since Vault's version of the SDK conflicts with the plugin's.
package tools

import _ "github.com/hashicorp/vault"
