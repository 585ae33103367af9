// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"

	"golang.org/x/mod/sumdb/dirhash"
)

// verify compares modules with their sums in go.sum. go build does not: it trusts what is
// unpacked in the module cache. "go mod verify" reads all modules of go.mod for that, also those
// that are not linked, which takes up to a minute.
func (r *release) verify(parts []part) error {
	for _, p := range parts {
		name := p.path + "@" + p.version
		if r.verified[name] {
			continue
		}
		sum, err := dirhash.HashDir(p.dir, name, dirhash.Hash1)
		if err != nil {
			return err
		}
		if sum != p.sum {
			return fmt.Errorf("%s in the module cache is not what go.sum says: run go clean -modcache, then make release again", name)
		}
		if r.verified == nil {
			r.verified = map[string]bool{}
		}
		r.verified[name] = true
	}
	return nil
}
