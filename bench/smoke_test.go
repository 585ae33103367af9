// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
)

// TestMain makes the test binary work as a child process.
func TestMain(m *testing.M) {
	if isChild, err := runChild(os.Args[1:]); isChild {
		exit(err)
	}
	os.Exit(m.Run())
}

// vaultBinary returns the vault of `make test`, or one that was built before.
func vaultBinary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("VAULT_BIN"); bin != "" {
		return bin
	}
	cmd := exec.Command(filepath.Join("scripts", "vault.sh"), "--no-build")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skip("no vault was built yet: run 'make test'")
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func mustParse(t *testing.T, args ...string) options {
	t.Helper()
	o, err := parseOptions(args, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestSmoke runs every part and checks that all figures are there.
func TestSmoke(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dir := t.TempDir()
	doc, results := filepath.Join(dir, "performance.md"), filepath.Join(dir, "results.json")
	var table, log bytes.Buffer
	if err := run(ctx, mustParse(t, "-smoke", "-seed", "1", "-vault", vaultBinary(t), "-out", dir, "-doc", doc), &table, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	r, err := report.Read(results)
	if err != nil {
		t.Fatal(err)
	}
	checkCells(t, r)
	checkOtherParts(t, r)
	for _, want := range []string{"== Goals", "== Herds", "== Storms", "== Growth", "livefloor"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is not in the table", want)
		}
	}
	if strings.Contains(table.String(), "NaN") {
		t.Error("NaN in the table")
	}
	if md, err := os.ReadFile(doc); err != nil || !bytes.Contains(md, []byte("### Goals")) {
		t.Errorf("document: %v", err)
	}
	if t.Failed() {
		t.Logf("%s\n%s", &log, &table)
	}

	var again bytes.Buffer
	if err := run(ctx, mustParse(t, "-from", results, "-out", t.TempDir()), &again, &log); err != nil {
		t.Fatal(err)
	}
	tables := func(output string) string { before, _, _ := strings.Cut(output, "\nWrote "); return before }
	if tables(again.String()) != tables(table.String()) {
		t.Error("-from shows other tables")
	}
}

// checkCells checks that every contender is in the right cells and has no errors.
func checkCells(t *testing.T, r *report.Result) {
	t.Helper()
	missing := map[string]bool{}
	for _, c := range r.Contenders {
		missing[c.Name] = c.Missing != ""
		if c.Missing != "" && !testbed.MustFind(c.Name).Optional {
			t.Errorf("%s is left out: %s", c.Name, c.Missing)
		}
	}
	if len(r.Cells) != 2 {
		t.Fatalf("%d cells", len(r.Cells))
	}
	for _, cell := range r.Cells {
		var names []string
		for _, s := range cell.Series {
			names = append(names, s.Contender)
			if len(s.Rounds) != 2 {
				t.Errorf("%s: %d rounds", s.Contender, len(s.Rounds))
			}
			for _, round := range s.Rounds {
				if round.Errors > 0 || round.Reads == 0 || round.RPS <= 0 {
					t.Errorf("%s in %s: %+v", s.Contender, cell.Storage, round)
				}
				if testbed.MustFind(s.Contender).CallsUpstream && (round.Calls < 0.9 || round.Calls > 1.1) {
					t.Errorf("%s: %.2f calls per read", s.Contender, round.Calls)
				}
			}
		}
		latency := time.Duration(cell.Latency * float64(time.Millisecond))
		for _, c := range r.Contenders {
			want := !missing[c.Name] && testbed.MustFind(c.Name).MeasuredIn(latency, cell.Concurrency)
			if slices.Contains(names, c.Name) != want {
				t.Errorf("%s, latency %s: measured %t, want %t", c.Name, latency, !want, want)
			}
		}
	}
}

func checkOtherParts(t *testing.T, r *report.Result) {
	t.Helper()
	for part, n := range map[string][2]int{ // got, want
		"herds": {len(r.Herds), 10}, "storms": {len(r.Storms), 4}, "growth": {len(r.Growth), 10},
		"first reads": {len(r.FirstReads), 3}, "binaries": {len(r.Binaries), 2}, "allocations": {len(r.Allocs), 5},
	} {
		if n[0] != n[1] {
			t.Errorf("%s: %d results, want %d", part, n[0], n[1])
		}
	}
	if r.Idle == nil {
		t.Error("idle: no result")
	}
	for _, h := range r.Herds {
		for _, s := range h.Repeats {
			if s.Errors > 0 || s.Wall <= 0 {
				t.Errorf("herd of %s, %d users, session %s: %+v", h.Contender, h.Users, h.Session, s)
			}
			if wantLogin := h.Contender == testbed.ECGrid && h.Session != report.Warm; wantLogin != (s.Logins > 0) {
				t.Errorf("herd of %s, session %s: %d Logins", h.Contender, h.Session, s.Logins)
			}
		}
	}
	for _, s := range r.Storms {
		if rotates := strings.HasPrefix(s.Kind, "rotate"); !s.Finished || s.Errors > 0 || rotates != (s.Rotations > 0) {
			t.Errorf("storm: %+v", s)
		}
	}
	if l := r.List; l == nil || l.Listed != l.Users+1 {
		t.Errorf("list: %+v", l)
	}
}

func TestOptions(t *testing.T) {
	docs := filepath.Join("..", "docs")
	full := mustParse(t)
	if full.plan.Name != "full" || full.out != filepath.Join(docs, "performance") || full.doc != filepath.Join(docs, "performance.md") || full.command != "make bench" || full.seed == 0 {
		t.Errorf("no flags: %+v", full)
	}
	if len(full.plan.Cells) != 24 {
		t.Errorf("%d cells, want 2 storages × 4 latencies × 3 concurrencies", len(full.plan.Cells))
	}
	quick := mustParse(t, "-quick", "-rounds", "2", "-round", "1s", "-parts", "cells,herd", "-seed", "9")
	if p := quick.plan; p.Name != "quick" || p.Rounds != 2 || p.Round != time.Second || quick.doc != "" || strings.HasPrefix(quick.out, docs) || quick.seed != 9 {
		t.Errorf("-quick: %+v", quick)
	}
	if selected := selector(quick.parts); !selected("cells") || selected("storm") || !selector(nil)("storm") {
		t.Error("-parts: not the named parts")
	}
	if want := `make bench BENCH="-quick -rounds 2 -round 1s -parts cells,herd -seed 9"`; quick.command != want {
		t.Errorf("command %q", quick.command)
	}
	for _, bad := range [][]string{{"-parts", "cell"}, {"extra"}, {"-rounds", "x"}} {
		if _, err := parseOptions(bad, os.Stdout); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	var help bytes.Buffer
	if _, err := parseOptions([]string{"-help"}, &help); err != flag.ErrHelp || !strings.Contains(help.String(), "-quick") || !strings.Contains(help.String(), "make bench") {
		t.Errorf("-help: %v: %s", err, &help)
	}
}
