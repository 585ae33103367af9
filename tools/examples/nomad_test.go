// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"os"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// nomadBlock is what a block of a job may contain, from Nomad's documentation of the job
// specification. Only what the example uses is listed.
type nomadBlock struct {
	labels     int
	attributes []string
	blocks     map[string]nomadBlock
	open       bool // the attributes are the user's, or the driver's
}

var nomadJob = map[string]nomadBlock{
	"job": {labels: 1, blocks: map[string]nomadBlock{
		"group": {labels: 1, blocks: map[string]nomadBlock{
			"task": {labels: 1, attributes: []string{"driver"}, blocks: map[string]nomadBlock{
				"config":   {open: true},
				"env":      {open: true},
				"identity": {attributes: []string{"name", "aud", "ttl"}},
				"vault":    {attributes: []string{"role", "change_mode", "change_signal"}},
				"template": {attributes: []string{"destination", "perms", "uid", "gid", "env", "error_on_missing_key", "change_mode", "change_signal", "data"}},
			}},
		}},
	}},
}

func TestNomadJob(t *testing.T) {
	for _, problem := range nomadProblems(t, nomadExample(t)) {
		t.Error(problem)
	}
}

// TestNomadMistakesAreFound is the positive control of TestNomadJob.
func TestNomadMistakesAreFound(t *testing.T) {
	mistakesAreFound(t, nomadExample(t), map[string]string{
		"error_on_missing_key": "error_if_missing",
		"template {":           "templates {",
		"vault {":              "vault \"default\" {",
		"task \"edi-gateway\"": "task",
		"driver = ":            "driver : ",
	}, func(job string) bool { return len(nomadProblems(t, job)) > 0 })
}

func nomadExample(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../examples/nomad/edi-gateway.nomad.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func nomadProblems(t *testing.T, job string) []string {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(job), "job", hcl.InitialPos)
	if diagnostics.HasErrors() {
		return []string{diagnostics.Error()}
	}
	return nomadBlock{blocks: nomadJob}.problems(file.Body.(*hclsyntax.Body))
}

func (b nomadBlock) problems(body *hclsyntax.Body) (found []string) {
	for name := range body.Attributes {
		if !b.open && !slices.Contains(b.attributes, name) {
			found = append(found, "unknown attribute "+name)
		}
	}
	for _, inner := range body.Blocks {
		known, ok := b.blocks[inner.Type]
		if !ok || len(inner.Labels) != known.labels {
			found = append(found, "unknown block "+inner.Type)
			continue
		}
		found = append(found, known.problems(inner.Body)...)
	}
	return found
}
