// SPDX-License-Identifier: MPL-2.0

package upstream

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "upstream" {
		if err := Serve(3, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T) *Upstream {
	t.Helper()
	u, err := Start(exec.Command(os.Args[0], "upstream"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Stop)
	return u
}

func call(t *testing.T, u *Upstream, op, body string) (status int, answer []byte) {
	t.Helper()
	status, answer, err := u.Call(t.Context(), op, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

func login(t *testing.T, u *Upstream) (sessionID string) {
	t.Helper()
	status, answer := call(t, u, Login, SOAPBody(Login, "<LoginName>"+u.Login+"</LoginName><Password>"+u.Password+"</Password>"))
	id := element(answer, "LoginResult")
	if status != http.StatusOK || id == "" {
		t.Fatalf("Login: HTTP %d %s", status, answer)
	}
	return id
}

var firstUser = strconv.Itoa(FirstUser)

// serveKey answers what the simulator answers, and leaves the rest to it.
func TestServeKey(t *testing.T) {
	h, err := newHandler(3)
	if err != nil {
		t.Fatal(err)
	}
	for user := FirstUser; user < FirstUser+3; user++ {
		body := ReadBody(h.admin.APIKey, strconv.Itoa(user))
		want, got := h.askSimulator(newRequest(Get, body)), httptest.NewRecorder()
		if !h.serveKey(got, []byte(body)) {
			t.Fatalf("user %d: not served", user)
		}
		if !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) || fmt.Sprint(got.Header()) != fmt.Sprint(want.Header()) {
			t.Errorf("user %d: got %v %s, want %v %s", user, got.Header(), got.Body, want.Header(), want.Body)
		}
	}
	for name, body := range map[string]string{
		"dead session":    ReadBody("no-session", firstUser),
		"unknown user":    ReadBody(h.admin.APIKey, "9"),
		"not a user ID":   ReadBody(h.admin.APIKey, "x"),
		"not a SOAP body": "",
	} {
		got := httptest.NewRecorder()
		if h.serveKey(got, []byte(body)) || got.Body.Len() > 0 || len(got.Header()) > 0 {
			t.Errorf("%s: served", name)
		}
	}
}

func TestSessions(t *testing.T) {
	u := start(t)
	read := ReadBody(login(t, u), firstUser)
	if status, answer := call(t, u, Get, read); status != http.StatusOK || element(answer, "UserGetAPIKeyResult") == "" {
		t.Fatalf("read: HTTP %d %s", status, answer)
	}
	before, err := u.State(t.Context())
	if err != nil || before.OpenSessions != 1 || before.Calls[Login] != 1 || before.Calls[Get] != 1 || before.Total() != 2 {
		t.Fatalf("%+v, %v", before, err)
	}
	if err := u.KillSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	counted, err := u.During(t.Context(), func() error {
		if status, _ := call(t, u, Get, read); status != http.StatusInternalServerError {
			t.Errorf("killed session: HTTP %d, want a fault", status)
		}
		return nil
	})
	if err != nil || counted.Total() != 1 || counted.Calls[Get] != 1 || counted.OpenSessions != 0 {
		t.Errorf("%+v, %v", counted, err)
	}
	if status, _ := call(t, u, Get, ReadBody(u.APIKey, strconv.Itoa(FirstUser+2))); status != http.StatusOK {
		t.Errorf("API key after that: HTTP %d", status)
	}
	id := login(t, u)
	if status, answer := call(t, u, "Logout", SOAPBody("Logout", "<SessionID>"+id+"</SessionID>")); status != http.StatusOK {
		t.Fatalf("Logout: HTTP %d %s", status, answer)
	}
	if status, _ := call(t, u, Get, ReadBody(id, firstUser)); status == http.StatusOK {
		t.Error("the session works after its Logout")
	}
}

func TestLatency(t *testing.T) {
	u := start(t)
	const latency = 30 * time.Millisecond
	if err := u.SetLatency(t.Context(), latency); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() { call(t, u, Get, ReadBody(u.APIKey, firstUser)) })
	}
	calls.Wait()
	if took := time.Since(began); took < latency {
		t.Errorf("took %s", took)
	}
	if s, err := u.State(t.Context()); err != nil || s.MaxInFlight < 1 || s.MaxInFlight > 3 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := u.SetLatency(t.Context(), -1); err == nil {
		t.Error("negative latency: no error")
	}
}
