// SPDX-License-Identifier: MPL-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"vault-plugin-ecgrid/internal/simulator"
)

const usage = `Usage: ecgrid-simulator [flags]

A stand-in for ECGrid: ECGridOS v4.1 over SOAP and the REST API v2.6, on one port.
It runs until SIGINT or SIGTERM.

`

const faultsHelp = `
A fault of --fault, or of POST /simulator/fault, is a JSON object or this form:
  OPERATION=ANSWER,NAME=VALUE,...
Examples:
  GenerateAPIKey=reset,count=2     the next two calls
  *=ok,delay=5s,transport=rest     every REST call is slow
  Login=login-refused,skip=1       every login but the first
If several faults match a call, the first one counts.
OPERATION is * (every one), %s.
ANSWER is ok (the right one), a cause, or a bad answer.
`

func printHelp(out io.Writer, f *flag.FlagSet) {
	fmt.Fprint(out, usage)
	f.SetOutput(out)
	f.PrintDefaults()
	fmt.Fprint(out, usersHelp)
	fmt.Fprintf(out, faultsHelp, strings.Join(simulator.OperationNames(), ", "))
	unapplied, applied := simulator.AnswerChoices()
	printChoices(out, "Causes: ECGrid refuses the call, and the operation is not applied", simulator.CauseChoices())
	printChoices(out, "Bad answers that do not apply the operation", unapplied)
	printChoices(out, "Bad answers that apply the operation", applied)
	printChoices(out, "Names (in JSON: op for OPERATION, answer or cause for ANSWER, times for count,\nand delay_ns, delay_answer_ns, apply_late_ns, interval_ns in nanoseconds)", simulator.FaultFieldChoices())
	printChoices(out, "Admin endpoints, on the same port. They need no credential and return none", simulator.AdminRouteChoices())
}

func printChoices(out io.Writer, title string, choices []simulator.Choice) {
	width := 0
	for _, c := range choices {
		width = max(width, len(c.Name))
	}
	fmt.Fprintf(out, "\n%s:\n", title)
	for _, c := range choices {
		fmt.Fprintf(out, "  %-*s  %s\n", width, c.Name, c.Help)
	}
}
