// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"fmt"
	"net/http"

	"vault-plugin-ecgrid/internal/simulator"
)

func ExampleSimulator_Inject() {
	s, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	// The second UserGetAPIKey from now fails with a dead session, in the shape of the
	// newer docs.
	s.Inject(simulator.Fault{Op: "UserGetAPIKey", Skip: 1, Times: 1, Cause: simulator.SessionDead, Shape: simulator.ShapeCodeNumber})

	// Every GenerateAPIKey is applied and its answer lost, until clear is called.
	clear := s.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter})
	clear()

	// The next Version is answered with HTTP 429.
	s.Inject(simulator.Fault{Op: "Version", Times: 1, Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	a := soapCall(s, "Version")
	fmt.Println(a.status, a.header.Get("Retry-After"), soapCall(s, "Version").status)
	// Output: 429 2 200
}
