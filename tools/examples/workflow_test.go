// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"io"
	"os"
	"testing"

	"github.com/rhysd/actionlint"
)

// TestWorkflow checks the workflow for GitHub Actions with actionlint. It does not know the
// inputs of hashicorp/vault-action.
func TestWorkflow(t *testing.T) {
	for _, problem := range lint(t, workflow(t)) {
		t.Error(problem)
	}
}

// TestWorkflowMistakesAreFound is the positive control of TestWorkflow.
func TestWorkflowMistakesAreFound(t *testing.T) {
	mistakesAreFound(t, workflow(t), map[string]string{
		"id-token: write":     "id-tokens: write",
		"runs-on:":            "runs-in:",
		"steps.ecgrid.":       "steps.other.",
		"uses: hashicorp/":    "use: hashicorp/",
		"branches: [main]":    "branch: [main]",
		"${{ steps.ecgrid":    "${{ step.ecgrid",
		"name: Send\n":        "name: Send\n        with: {}\n",
		"contents: read":      "contents: all",
		"actions/checkout@v4": "actions/checkout",
	}, func(content string) bool { return len(lint(t, content)) > 0 })
}

func workflow(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../examples/ci/github-actions.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func lint(t *testing.T, content string) []*actionlint.Error {
	t.Helper()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.Lint("github-actions.yml", []byte(content), nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
