// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
)

// table makes the file of a run of n samples, half of them during failovers. Every tenth
// sample measured nothing.
func table(n int) string {
	var names []string
	for _, panel := range panels {
		names = append(names, panel.lines...)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "seconds,phase")
	for _, name := range names {
		fmt.Fprintf(&s, ",%q", name)
	}
	for i := range n {
		phase, value := "faults", fmt.Sprint(i%7)
		if i >= n/2 {
			phase = "failovers"
		}
		if i%10 == 9 {
			value = ""
		}
		fmt.Fprintf(&s, "\n%d.0,%s%s", i, phase, strings.Repeat(","+value, len(names)))
	}
	return s.String()
}

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "soak.csv"), filepath.Join(dir, "soak.svg")
	if err := os.WriteFile(in, []byte(table(1800)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(in, out); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range panels {
		for _, text := range append([]string{panel.title}, panel.lines...) {
			if !bytes.Contains(svg, []byte(">"+text+"<")) {
				t.Errorf("the plot does not show %q", text)
			}
		}
	}
	if len(svg) > 300<<10 {
		t.Errorf("%d bytes", len(svg))
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	m, err := read(strings.NewReader(table(100)))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.series["leases"]; len(got) != 90 || got[89] != (plotter.XY{X: 98.0 / 60, Y: 0}) || len(m.phases) != 1 || m.phases[0] != 50.0/60 {
		t.Errorf("%d leases, the last is %v; phases %v", len(got), got[len(got)-1], m.phases)
	}
	for _, bad := range []string{"", "seconds,phase,leases", "seconds,phase\n1,x", "seconds,phase,leases\n1,x,y", "seconds,phase,leases\nx,x,1"} {
		m, err := read(strings.NewReader(bad))
		if err == nil {
			_, err = m.svg()
		}
		if err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if m, err = read(strings.NewReader("seconds,phase,leases\n1,x,1")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.svg(); !errors.Is(err, errNoSamples) {
		t.Errorf("a figure is missing: %v", err)
	}
}

func TestThin(t *testing.T) {
	t.Parallel()
	var points plotter.XYs
	for i := range 1000 {
		points = append(points, plotter.XY{X: float64(i), Y: 2})
	}
	points[500].Y = 99 // one peak is no line
	thinned := thin(points, 100)
	if len(thinned) != 100 {
		t.Fatalf("%d points", len(thinned))
	}
	for _, point := range thinned {
		if point.Y != 2 {
			t.Errorf("%v", point)
		}
	}
	if same := thin(points[:50], 100); len(same) != 50 {
		t.Errorf("%d of 50 points", len(same))
	}
}
