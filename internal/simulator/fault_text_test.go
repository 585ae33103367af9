// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestParseFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]simulator.Fault{
		"GenerateAPIKey=reset,count=2":                      {Op: "GenerateAPIKey", Answer: simulator.AnswerReset, Times: 2},
		"*=ok,delay=5s,transport=rest":                      {Delay: 5 * time.Second, Transport: "rest"},
		"Login=login-refused,skip=1":                        {Op: "Login", Cause: simulator.LoginRefused, Skip: 1},
		"Login=status,status=429,header=Retry-After:7":      {Op: "Login", Answer: simulator.AnswerStatus, Status: 429, Header: http.Header{"Retry-After": {"7"}}},
		"ChangePassword=ok,apply_late=3s,check_early=true":  {Op: "ChangePassword", ApplyLate: 3 * time.Second, CheckEarly: true},
		" {\"op\":\"Login\",\"delay_ns\":5}\n":              {Op: "Login", Delay: 5},
		"Refresh=access-denied,answer=drip,interval=1ms":    {Op: "Refresh", Cause: simulator.AccessDenied, Answer: simulator.AnswerDrip, Interval: time.Millisecond},
		"Version=redirect,url=https://example.com/?a=b":     {Op: "Version", Answer: simulator.AnswerRedirect, URL: "https://example.com/?a=b"},
		"Version=huge,bytes=9,apply=true,delay_answer=1m0s": {Op: "Version", Answer: simulator.AnswerHuge, Bytes: 9, Apply: true, DelayAnswer: time.Minute},
	} {
		if got, err := simulator.ParseFault(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for text, why := range map[string]string{
		"":                              "a fault is a JSON object, or",
		"reset":                         "a fault is a JSON object, or",
		"=reset":                        "a fault is a JSON object, or",
		"Login=explode":                 `unknown answer "explode"`,
		"Login=":                        `no answer: write ok`,
		"Nothing=reset":                 `unknown operation "Nothing"`,
		"Login=reset,times=2":           `no field "times"`,
		"Login=reset,count=two":         `count: "two" is not a whole number of at least 0`,
		"Login=reset,count=-1":          `count: "-1" is not`,
		"Login=reset,delay=5":           `delay: "5" is not a duration`,
		"Login=reset,apply=perhaps":     `apply: "perhaps" is not true or false`,
		"Login=reset,header=x":          `header: "x" is not NAME:VALUE`,
		"Login=ok,apply_late=1s":        "Login cannot be applied late",
		"Refresh=reset,transport=soap":  `unknown operation "Refresh"`,
		`{"op":"Login","answers":"x"}`:  `unknown field "answers"`,
		`{"op":"Login","answer":"bad"}`: `unknown answer "bad"`,
	} {
		if _, err := simulator.ParseFault(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

// The short form has every field of the JSON form.
func TestFaultFields(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range simulator.FaultFieldChoices() {
		names = append(names, c.Name)
		if c.Help == "" {
			t.Errorf("%s is not described", c.Name)
		}
	}
	short := map[string]string{"times": "count", "op": ""}
	fault := reflect.TypeFor[simulator.Fault]()
	for i := range fault.NumField() {
		name, _, _ := strings.Cut(fault.Field(i).Tag.Get("json"), ",")
		name = strings.TrimSuffix(name, "_ns")
		if other, renamed := short[name]; renamed {
			name = other
		}
		if name != "-" && name != "" && !slices.Contains(names, name) {
			t.Errorf("the short form has no %s", name)
		}
	}
}

// Answers and causes are told apart by their names alone.
func TestChoices(t *testing.T) {
	t.Parallel()
	unapplied, applied := simulator.AnswerChoices()
	all := slices.Concat(unapplied, applied, simulator.CauseChoices(), []simulator.Choice{{Name: "ok", Help: "the right answer"}})
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.Name] || c.Help == "" {
			t.Errorf("%s is listed twice, or not described", c.Name)
		}
		seen[c.Name] = true
	}
}

// The short form works at the admin endpoint, and the faults are bounded.
func TestAdminFaults(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	inject := func(text string) answer {
		return send(s, httptest.NewRequest("POST", "/simulator/fault", strings.NewReader(text)))
	}
	inject("Version=status,status=502,count=1")
	if a := soapCall(s, "Version"); a.status != http.StatusBadGateway {
		t.Errorf("the fault was not injected: HTTP %d", a.status)
	}
	for i := range 150 {
		a := inject("Login=reset")
		if refused := a.status == http.StatusBadRequest && strings.Contains(a.body, "clear them"); refused != (i >= 100) {
			t.Fatalf("fault %d: HTTP %d %s", i+1, a.status, a.body)
		}
	}
	s.ClearFaults()
	if a := inject(`{"op":"Login","message":"` + strings.Repeat("a", 64<<10) + `"}`); a.status != http.StatusBadRequest {
		t.Errorf("a large fault: HTTP %d", a.status)
	}
}
