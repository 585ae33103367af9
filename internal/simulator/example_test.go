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

	// The second UserGetAPIKey from now finds its session dead, told in the
	// shape of the newer docs.
	s.Inject(simulator.Fault{Op: "UserGetAPIKey", Skip: 1, Times: 1, Cause: simulator.SessionDead, Shape: simulator.ShapeCodeNumber})

	// Every GenerateAPIKey is carried out, but its answer is lost, until cleared.
	clear := s.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter})
	clear()

	// Version is answered by something else than ECGrid, once.
	s.Inject(simulator.Fault{Op: "Version", Times: 1, Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	a := call(s, "Version")
	fmt.Println(a.status, a.header.Get("Retry-After"), call(s, "Version").status)
	// Output: 429 2 200
}
