// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// BenchmarkUserGetAPIKey compares the cost of a read over each protocol, with its server.
func BenchmarkUserGetAPIKey(b *testing.B) {
	for _, p := range protocols {
		b.Run(p.name, func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(p.respond))
			defer s.Close()
			c, err := p.connect(ecgrid.Endpoint{URL: s.URL + p.path})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.UserGetAPIKey(b.Context(), session, 5001); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
