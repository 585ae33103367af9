// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"context"
	"net/http"
	"reflect"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Proxies log headers, so they hold no more than necessary.
func TestRequestHeader(t *testing.T) {
	t.Parallel()
	var header http.Header
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		if r.URL.RequestURI() != "/v4.1/prod/ECGridOS.asmx" || r.ProtoMajor != 1 || r.ContentLength <= 0 {
			t.Errorf("got %s, HTTP/%d, %d bytes", r.URL, r.ProtoMajor, r.ContentLength)
		}
		strict(w, r)
	})
	if _, err := c.Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type":   {"text/xml; charset=utf-8"},
		"Soapaction":     {`"https://os.ecgrid.io/Version"`},
		"User-Agent":     {"vault-plugin-ecgrid"},
		"Content-Length": header["Content-Length"],
	}
	if !reflect.DeepEqual(header, want) {
		t.Errorf("got %v", header)
	}
}

func TestUnsendable(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	const bad = "canary\x01"
	for param, call := range map[string]func(context.Context) error{
		"LoginName":   func(ctx context.Context) error { _, err := c.Login(ctx, bad, "p"); return err },
		"Password":    func(ctx context.Context) error { _, err := c.Login(ctx, "l", "canary\xff"); return err },
		"SessionID":   func(ctx context.Context) error { return c.Logout(ctx, ecgrid.Credential{Value: bad}) },
		"OldPassword": func(ctx context.Context) error { return c.ChangePassword(ctx, session, "\uFFFEcanary", bad) },
		"NewPassword": func(ctx context.Context) error { return c.ChangePassword(ctx, session, "p", bad) },
	} {
		t.Run(param, func(t *testing.T) {
			t.Parallel()
			e := wantFailure(t, call(t.Context()), ecgrid.ErrFault)
			if e.Sent || e.Reason != param+" cannot be sent in XML" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newEnvelope(opUserGetAPIKey, len(canarySession)).str("SessionID", canarySession).user(5001).close()
	}
}
