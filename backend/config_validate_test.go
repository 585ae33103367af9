// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
)

func TestValidateURL(t *testing.T) {
	t.Parallel()
	for raw, valid := range map[string]bool{
		DefaultURL:                       true,
		"https://127.0.0.1:8443/x":       true,
		"http://127.0.0.1:8080/x":        true,
		"http://127.9.9.9/x":             true,
		"http://[::1]:8080/x":            true,
		"http://localhost/x":             true,
		"http://os.ecgrid.io/x":          false,
		"http://localhost.evil.example/": false,
		"http://127.0.0.1.evil.example/": false,
		"http://0.0.0.0/x":               false,
		"http://10.0.0.1/x":              false,
		"ftp://os.ecgrid.io/x":           false,
		"os.ecgrid.io":                   false,
		"https://":                       false,
		"https:///x":                     false,
		"https:os.ecgrid.io":             false,
		"https://user@os.ecgrid.io/x":    false,
		"https://user:p@os.ecgrid.io/x":  false,
		"https://os.ecgrid.io/x?WSDL":    false,
		"https://os.ecgrid.io/x?":        false,
		"https://os.ecgrid.io/x#f":       false,
		"https://os.ecgrid.io:99999/x":   false,
		"https://os.ecgrid.io:port/x":    false,
		"https://os ecgrid.io/":          false,
		"/x":                             false,
	} {
		if err := (Config{URL: raw}).validateURL(); (err == nil) != valid {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// The stored credential is not sent to a host whose name only looks the same. In lower
// case U+0130 is a plain i. In DNS it is another letter.
func TestHostThatLooksTheSame(t *testing.T) {
	t.Parallel()
	patch := ConfigPatch{URL: ptr("https://os.ecgr\u0130d.io/v4.1/prod/ECGridOS.asmx")}
	wantErr(t, errOf(patch.apply(stored())), ErrInvalid)
}
