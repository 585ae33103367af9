// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"maps"
	"testing"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

// The values of transport.
const (
	soap = "soap"
	rest = "rest"
)

// startGrid runs a grid until the end of the test.
func startGrid(t *testing.T, o fakegrid.Options) *fakegrid.Server {
	t.Helper()
	grid, err := fakegrid.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(grid.Close)
	return grid
}

func urlOf(grid *fakegrid.Server, transport string) string {
	return map[string]string{soap: grid.URL, rest: grid.RESTURL}[transport]
}

// configFor is a config of a mount with this grid, and more fields.
func configFor(grid *fakegrid.Server, transport string, more fields) fields {
	config := fields{"transport": transport, "url": urlOf(grid, transport), "ca_cert": string(grid.CA)}
	maps.Copy(config, more)
	return config
}

// passwordOf is the password of a login now.
func passwordOf(grid *fakegrid.Server, login string) string {
	all := grid.Passwords(login)
	return all[len(all)-1].Value
}

// keyOf is the key of a user now, or "".
func keyOf(grid *fakegrid.Server, user int) string {
	all := grid.Keys(user)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Value
}
