// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"strings"
	"testing"
)

// mistakesAreFound is the positive control of a check: of each text of an example, replaced by
// a wrong one, the check must find a problem.
func mistakesAreFound(t *testing.T, example string, mistakes map[string]string, hasProblem func(mistaken string) bool) {
	t.Helper()
	for right, wrong := range mistakes {
		if !strings.Contains(example, right) {
			t.Errorf("the example has no %q", right)
		}
		if !hasProblem(strings.Replace(example, right, wrong, 1)) {
			t.Errorf("the example with %q passes", wrong)
		}
	}
}
