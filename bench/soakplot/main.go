// SPDX-License-Identifier: MPL-2.0

// Command soakplot plots what the soak test measured (acceptance/soak) into one SVG.
//
//	ECGRID_SOAK=30m ECGRID_SOAK_CSV=$PWD/soak.csv go test -timeout 0 -v ./acceptance/soak
//	go -C bench run ./soakplot -in ../soak.csv -out ../docs/performance/soak.svg
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	in := flag.String("in", "soak.csv", "the file that ECGRID_SOAK_CSV named")
	out := flag.String("out", "soak.svg", "the plot")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "soakplot:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	svg, err := m.svg()
	if err != nil {
		return err
	}
	return os.WriteFile(out, svg, 0o644)
}
