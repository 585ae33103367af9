// SPDX-License-Identifier: MPL-2.0

// Command bench compares the plugin with plugins that do nothing. All of them run in one
// real Vault and call a simulated ECGrid with a configurable latency. Run it with
// `make bench`. See -help for the flags.
//
// The load generator and the simulated ECGrid are child processes that run this same
// binary. Vault starts the plugins.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"vault-plugin-ecgrid/bench/internal/load"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// The first argument of a child process says what it does.
const (
	loadProcess     = "child-load"
	upstreamProcess = "child-upstream" // the second argument is the number of users
)

func main() {
	if isChild, err := runChild(os.Args[1:]); isChild {
		exit(err)
	}
	o, err := parseOptions(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout, os.Stderr)
		stop()
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild does the work of a child process. It returns false if this is not one.
func runChild(args []string) (isChild bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case loadProcess:
		return true, load.Serve(os.Stdin, os.Stdout)
	case upstreamProcess:
		users, err := strconv.Atoi(args[len(args)-1])
		if err != nil {
			return true, err
		}
		return true, upstream.Serve(users, os.Stdin, os.Stdout)
	}
	return false, nil
}
