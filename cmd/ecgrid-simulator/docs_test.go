// SPDX-License-Identifier: MPL-2.0

package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// section returns the rows of the tables under a heading of docs/simulator.md, without
// their heads.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, after, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/simulator.md has no heading %q", heading)
	}
	var rows []string
	for line := range strings.Lines(after) {
		if strings.HasPrefix(line, "#") {
			break
		}
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, line)
		}
	}
	return strings.Join(rows, "")
}

func rowsOf(choices []simulator.Choice) string {
	var rows strings.Builder
	for _, c := range choices {
		rows.WriteString("| `" + c.Name + "` | " + strings.ReplaceAll(c.Help, "<", "&lt;") + " |\n")
	}
	return rows.String()
}

func flagRows() string {
	var c settings
	var rows strings.Builder
	c.flags().VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		shown := "--" + f.Name
		if value != "" {
			shown += " " + value
		}
		if f.DefValue == "0" || f.DefValue == "0s" || f.DefValue == "false" {
			f.DefValue = ""
		}
		rows.WriteString("| `" + shown + "` | " + help + " | " + f.DefValue + " |\n")
	})
	return rows.String()
}

func helpText(t *testing.T) string {
	t.Helper()
	var out output
	if err := run(t.Context(), []string{"--help"}, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// docs/simulator.md and --help list the same as the tables in the code, in the same words.
func TestDocsListEverything(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	page, help := string(raw), helpText(t)
	unapplied, applied := simulator.AnswerChoices()
	want := map[string][]simulator.Choice{
		"### Causes": simulator.CauseChoices(),
		"### Bad answers that do not apply the operation": unapplied,
		"### Bad answers that apply the operation":        applied,
		"### Names":          simulator.FaultFieldChoices(),
		"## Admin endpoints": simulator.AdminRouteChoices(),
	}
	for heading, choices := range want {
		if got := section(t, page, heading); got != rowsOf(choices) {
			t.Errorf("%s has\n%s\nwant\n%s", heading, got, rowsOf(choices))
		}
		for _, c := range choices {
			if !strings.Contains(help, c.Name) || !strings.Contains(help, c.Help) {
				t.Errorf("--help does not list %s: %s", c.Name, c.Help)
			}
		}
	}
	if got := section(t, page, "## Flags"); got != flagRows() {
		t.Errorf("## Flags has\n%s\nwant\n%s", got, flagRows())
	}
	for _, op := range simulator.OperationNames() {
		if !strings.Contains(page, "`"+op+"`") || !strings.Contains(help, op) {
			t.Errorf("the operation %s is not listed", op)
		}
	}
}

// The fields of the file of --users are those of a user.
func TestDocsListUserFields(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, help := section(t, string(raw), "### Users file"), helpText(t)
	user := reflect.TypeFor[simulator.User]()
	for i := range user.NumField() {
		name, _, _ := strings.Cut(user.Field(i).Tag.Get("json"), ",")
		if !strings.Contains(rows, "`"+name+"`") || !strings.Contains(help, name) {
			t.Errorf("the field %s is not listed", name)
		}
	}
}

// The examples in --help are valid.
func TestHelpExamples(t *testing.T) {
	t.Parallel()
	examples := 0
	for line := range strings.Lines(faultsHelp) {
		text, _, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			continue
		}
		if _, err := simulator.ParseFault(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		examples++
	}
	if examples != 3 {
		t.Errorf("%d examples", examples)
	}
}
