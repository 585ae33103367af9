// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// BenchmarkReadKey reads a key over gRPC, with the real client and one call to a
// simulator on loopback.
func BenchmarkReadKey(b *testing.B) {
	for name, config := range map[string]fields{
		"asked":  nil,
		"cached": {"key_cache_ttl": "1h"},
	} {
		b.Run(name, func(b *testing.B) {
			m := newTestMount(b)
			m.configure(config)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.backend.HandleRequest(b.Context(), m.request(logical.ReadOperation, "keys/5001", nil)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadKeyParallel reads the keys of two users in parallel.
func BenchmarkReadKeyParallel(b *testing.B) {
	m := newTestMount(b)
	m.configure(nil)
	paths := []string{"keys/5001", "keys/5002"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := m.backend.HandleRequest(b.Context(), m.request(logical.ReadOperation, paths[i%2], nil)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
