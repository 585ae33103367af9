package ecgrid

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// BenchmarkReadKey is a read as Vault makes it, over gRPC, with the real client and
// one call to a simulator on loopback.
func BenchmarkReadKey(b *testing.B) {
	for name, config := range map[string]map[string]any{
		"asked":  nil,
		"cached": {fieldKeyCacheTTL: "1h"},
	} {
		b.Run(name, func(b *testing.B) {
			m := newTestMount(b)
			m.configure(config)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.do(logical.ReadOperation, "keys/5001", nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadKeyParallel has many readers, each of one of two users.
func BenchmarkReadKeyParallel(b *testing.B) {
	m := newTestMount(b)
	m.configure(nil)
	paths := []string{"keys/5001", "keys/5002"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := m.do(logical.ReadOperation, paths[i%2], nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
