// SPDX-License-Identifier: MPL-2.0

// Command noop is a secrets engine that only creates leases.
package main

import (
	"flag"
	"fmt"
	"os"

	"vault-plugin-ecgrid/bench/plugins/baseline"
)

func main() {
	var o baseline.Options
	flag.BoolVar(&o.Bare, "bare", false, "do without the SDK's hidden calls back to Vault")
	flag.BoolVar(&o.Post, "post", false, "send the POST that was written to config in every read")
	flag.Parse()
	if err := baseline.Serve(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
