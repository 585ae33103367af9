// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "load" {
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// server counts its requests and connections.
type server struct {
	*httptest.Server
	requests, connections atomic.Int64
	inFlight, maxInFlight atomic.Int64
	seen                  sync.Map // "method path body token"
}

func newServer(t *testing.T, answer http.HandlerFunc) *server {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.maxInFlight.Store(max(s.maxInFlight.Load(), s.inFlight.Add(1)))
		defer s.inFlight.Add(-1)
		body, _ := io.ReadAll(r.Body)
		s.seen.Store(r.Method+" "+r.URL.Path+" "+string(body)+" "+r.Header.Get("X-Token"), true)
		answer(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Server.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) job() Job {
	return Job{Addr: strings.TrimPrefix(s.URL, "http://"), Method: "GET", Path: "/keys/{}", Workers: 1, Users: 1}
}

func succeed(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":{}}`) }

func TestPerWorker(t *testing.T) {
	s := newServer(t, succeed)
	j := s.job()
	j.Method, j.Body, j.Header = "POST", "<UserID>{}</UserID>", map[string]string{"X-Token": "t"}
	j.Workers, j.FirstUser, j.Users, j.PerWorker, j.WarmUp = 2, 5001, 2, 3, 1
	r := Run(t.Context(), j)
	if r.Reads != 6 || r.WarmUps != 2 || r.Total() != 8 || r.Errors != 0 || r.FirstError != "" {
		t.Errorf("got %+v", r)
	}
	if s.requests.Load() != 8 || s.connections.Load() != 2 {
		t.Errorf("%d requests on %d connections, want 8 on 2", s.requests.Load(), s.connections.Load())
	}
	for _, want := range []string{"POST /keys/5001 <UserID>5001</UserID> t", "POST /keys/5002 <UserID>5002</UserID> t"} {
		if _, ok := s.seen.Load(want); !ok {
			t.Errorf("not received: %s", want)
		}
	}
	if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Wall || r.RPS <= 0 {
		t.Errorf("impossible times: %+v", r)
	}
}

func TestUsersTakeTurns(t *testing.T) {
	j := Job{Workers: 3, FirstUser: 10, Users: 5}
	reads := map[int]int{}
	for w := range 3 {
		for n := range 5 {
			reads[j.user(w, n)]++
		}
	}
	for user := 10; user < 15; user++ {
		if reads[user] != 3 {
			t.Errorf("reads by user: %v, want 3 each", reads)
		}
	}
	j.Users = 3
	if j.user(2, 0) != 12 || j.user(2, 7) != 12 {
		t.Error("as many users as workers: a worker has more than one user")
	}
}

func TestDuration(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		succeed(w, r)
	})
	j := s.job()
	j.Workers, j.Users, j.Duration = 4, 4, 210*time.Millisecond
	r := Run(t.Context(), j)
	// 4 workers at 20 ms make at most 200 requests a second.
	if r.RPS > 200 || r.RPS < 40 || r.P50 < 20*time.Millisecond || r.Wall < j.Duration {
		t.Errorf("got %+v", r)
	}
	if s.maxInFlight.Load() != 4 {
		t.Errorf("%d requests at once, want 4", s.maxInFlight.Load())
	}
}

// An error status keeps the connection. A broken connection is replaced.
func TestErrors(t *testing.T) {
	var n atomic.Int64
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			succeed(w, r)
		}
	})
	j := s.job()
	j.PerWorker = 4
	r := Run(t.Context(), j)
	if r.Reads != 2 || r.Errors != 2 || !strings.Contains(r.FirstError, "HTTP 503: not now") || s.connections.Load() != 2 {
		t.Errorf("%d connections, %+v", s.connections.Load(), r)
	}
}

func TestNoServer(t *testing.T) {
	s := newServer(t, succeed)
	j := s.job()
	s.Close()
	j.PerWorker = 1
	if r := Run(t.Context(), j); r.Reads != 0 || r.Errors == 0 || r.FirstError == "" {
		t.Errorf("got %+v", r)
	}
}

func TestGenerator(t *testing.T) {
	s := newServer(t, succeed)
	g, err := Start(exec.Command(os.Args[0], "load"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	j := s.job()
	j.PerWorker = 5
	for range 2 {
		if r, err := g.Run(t.Context(), j); err != nil || r.Reads != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	j.PerWorker = 0
	if err := g.Begin(j); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if r, err := g.End(); err != nil || r.Reads == 0 || r.Errors != 0 {
		t.Errorf("stopped job: %+v, %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.Run(ctx, j); err == nil {
		t.Error("ctx ended: no error")
	}
}
