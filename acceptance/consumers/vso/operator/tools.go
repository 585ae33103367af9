// SPDX-License-Identifier: MPL-2.0

//go:build tools

// Package tools pins the operator that the tests run. It is a module of its own, so that the
// operator is built with the versions of its own go.mod.
package tools

import _ "github.com/hashicorp/vault-secrets-operator"
