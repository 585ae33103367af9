// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vault-plugin-ecgrid/bench/internal/measure"
)

// options are the parsed command line.
type options struct {
	plan       measure.Plan
	seed       uint64
	root       string
	vault      string
	plugin     string
	other      string
	out        string
	doc        string
	from       string
	parts      []string
	contenders []string
	command    string // for the report
}

const usage = `Usage: make bench [BENCH="flags"], or: cd bench && go run . [flags]

Compares the plugin with plugins that do nothing, in one real Vault. All of them call a
simulated ECGrid on loopback with a configurable latency. Nothing leaves this machine.

Without flags it takes about 25 minutes. It writes plots and results.json to
docs/performance/, and its tables between the markers of docs/performance.md. With flags
it writes to bin/bench/ only, unless you set -out or -doc.

`

// parseOptions parses the command line. For -help it prints the help to out and returns
// flag.ErrHelp.
func parseOptions(args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	quick := f.Bool("quick", false, "measure fewer cells, in a few minutes")
	smoke := f.Bool("smoke", false, "check in under a minute that everything works; the figures mean nothing")
	rounds := f.Int("rounds", 0, "`number` of rounds in a cell; 0 leaves it to the plan")
	round := f.Duration("round", 0, "minimum `time` of each contender in each round; 0 leaves it to the plan")
	parts := f.String("parts", "", "measure only these parts: comma-separated `names` among "+strings.Join(partNames(), ", "))
	contenders := f.String("contenders", "", "measure only these contenders in cells: comma-separated `names`")
	f.Uint64Var(&o.seed, "seed", 0, "`seed` for the order of the contenders; 0 picks one and prints it")
	f.StringVar(&o.root, "root", "..", "`directory` of the repository")
	f.StringVar(&o.vault, "vault", os.Getenv("VAULT_BIN"), "`path` of the vault binary; $VAULT_BIN if it is not set")
	f.StringVar(&o.plugin, "plugin", "", "`path` of a plugin binary to measure instead of building this source")
	f.StringVar(&o.other, "other", "", "`path` of another build of the plugin, measured as the contender ecgrid-other")
	f.StringVar(&o.out, "out", "", "`directory` for the plots, results.json and results.md")
	f.StringVar(&o.doc, "doc", "", "Markdown `file` that gets the tables, between its markers")
	f.StringVar(&o.from, "from", "", "show the results.json `file` of an earlier run again; measure nothing")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			f.SetOutput(out)
			f.PrintDefaults()
		}
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.parts, o.contenders = splitList(*parts), splitList(*contenders)
	for _, name := range o.parts {
		if !slices.Contains(partNames(), name) {
			return o, fmt.Errorf("-parts: unknown part %q; the parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	o.plan = measure.Full()
	if *quick {
		o.plan = measure.Quick()
	}
	if *smoke {
		o.plan = measure.Smoke()
	}
	o.plan.Rounds = cmp.Or(*rounds, o.plan.Rounds)
	o.plan.Round = cmp.Or(*round, o.plan.Round)
	o.seed = cmp.Or(o.seed, rand.Uint64())
	o.setDestinations(args)
	return o, nil
}

// setDestinations sets the files to write. Only a run without flags writes to docs/ by
// default.
func (o *options) setDestinations(args []string) {
	o.command = "make bench"
	out, doc := filepath.Join(o.root, "docs", "performance"), filepath.Join(o.root, "docs", "performance.md")
	if len(args) > 0 {
		o.command += ` BENCH="` + strings.Join(args, " ") + `"`
		out, doc = filepath.Join(o.root, "bin", "bench"), ""
	}
	o.out, o.doc = cmp.Or(o.out, out), cmp.Or(o.doc, doc)
}

func partNames() []string {
	var names []string
	for _, p := range measure.Parts {
		names = append(names, p.Name)
	}
	return names
}

// splitList splits a comma-separated list.
func splitList(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// selector returns a function that reports whether a name is in the list. An empty list
// selects every name.
func selector(names []string) func(string) bool {
	return func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
}
