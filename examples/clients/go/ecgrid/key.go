// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	vault "github.com/hashicorp/vault/api"
)

// KeyReader reads the current key.
type KeyReader func(context.Context) (string, error)

// FromFile reads the key from the file that Vault Agent writes.
func FromFile(path string) KeyReader {
	return func(context.Context) (string, error) { return readLine(path) }
}

// FromVault reads the key from a path such as ecgrid/static-creds/edi-gateway. It reads
// Vault's token from tokenFile each time, since Agent replaces it, or leaves the client's
// own if tokenFile is "".
func FromVault(client *vault.Client, path, tokenFile string) KeyReader {
	return func(ctx context.Context) (string, error) {
		if tokenFile != "" {
			token, err := readLine(tokenFile)
			if err != nil {
				return "", err
			}
			client.SetToken(token)
		}
		secret, err := client.Logical().ReadWithContext(ctx, path)
		if answer := (*vault.ResponseError)(nil); errors.As(err, &answer) {
			reasons := strings.Join(answer.Errors, ", ") // in one line
			return "", fmt.Errorf("%s from Vault: HTTP %d: %s", path, answer.StatusCode, reasons)
		}
		if err != nil {
			return "", fmt.Errorf("%s from Vault: %w", path, err)
		}
		if secret == nil {
			return "", fmt.Errorf("%s is not in Vault: check the path", path)
		}
		key, _ := secret.Data["api_key"].(string)
		return visible(key, path)
	}
}

func readLine(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return visible(strings.TrimSpace(string(content)), path)
}

// visible refuses what cannot be in a header. The error of net/http could show it.
func visible(value, from string) (string, error) {
	hidden := func(r rune) bool { return r <= ' ' || r > '~' }
	if value == "" || strings.ContainsFunc(value, hidden) {
		return "", fmt.Errorf("%s must hold one line of visible ASCII characters: check what writes it", from)
	}
	return value, nil
}
