// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const ciWorkflow = "../../.github/workflows/ci.yml"

// ci is what the tests read of a workflow.
type ci struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Permissions map[string]string
		Steps       []struct{ Run, Uses string }
	}
}

// TestCI checks the workflow of this repository with actionlint. Its commands exist, it can
// only read, and no text of a pull request becomes part of a command.
func TestCI(t *testing.T) {
	raw, err := os.ReadFile(ciWorkflow)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range lint(t, string(raw)) {
		t.Error(problem)
	}
	for _, problem := range ciProblems(t, string(raw)) {
		t.Error(problem)
	}
}

// TestCIMistakesAreFound is the positive control of TestCI.
func TestCIMistakesAreFound(t *testing.T) {
	raw, err := os.ReadFile(ciWorkflow)
	if err != nil {
		t.Fatal(err)
	}
	mistakesAreFound(t, string(raw), map[string]string{
		"needs: [lint, ":          "needs: [lints, ",
		"go-version-file:":        "go-versions-file:",
		"${{ github.event_name":   "${{ github.event",
		"actions/setup-go@v5":     "actions/setup-go",
		"contents: read":          "contents: write",
		"run: make test":          "run: make tests",
		"run: scripts/vuln.sh":    "run: scripts/vulns.sh",
		"run: make release":       "run: make release VERSION=${{ github.ref_name }}",
		"    timeout-minutes: 90": "    permissions: {id-token: write}",
	}, func(content string) bool { return len(lint(t, content)) > 0 || len(ciProblems(t, content)) > 0 })
}

var makeTarget = regexp.MustCompile(`(?m)^([a-z-]+):`)

func ciProblems(t *testing.T, content string) (problems []string) {
	t.Helper()
	var w ci
	if err := yaml.Unmarshal([]byte(content), &w); err != nil {
		return []string{err.Error()}
	}
	if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
		problems = append(problems, "it may do more than read the repository")
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, target := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets[target[1]] = true
	}
	for name, job := range w.Jobs {
		if job.Permissions != nil {
			problems = append(problems, name+" has permissions of its own")
		}
		for _, step := range job.Steps {
			words := strings.Fields(step.Run)
			switch {
			case strings.Contains(step.Run, "${{"):
				problems = append(problems, step.Run+": an expression in a command: use env")
			case len(words) == 0, words[0] == "make" && len(words) > 1 && targets[words[1]]:
			default:
				if _, err := os.Stat(filepath.Join("../..", words[0])); err != nil {
					problems = append(problems, step.Run+": no such command")
				}
			}
		}
	}
	return problems
}
