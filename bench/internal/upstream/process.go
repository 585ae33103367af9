// SPDX-License-Identifier: MPL-2.0

package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"vault-plugin-ecgrid/bench/internal/proc"
	"vault-plugin-ecgrid/internal/simulator"
)

// Access is the address of an upstream and the login of this run. The process prints it
// when it is ready.
type Access struct {
	Addr     string `json:"addr"` // host:port
	Login    string `json:"login"`
	Password string `json:"password"`
	APIKey   string `json:"api_key"`
}

// SOAP returns the URL of ECGridOS.
func (a Access) SOAP() string { return "http://" + a.Addr + simulator.SOAPPath }

// REST returns the URL of the REST API.
func (a Access) REST() string { return "http://" + a.Addr + simulator.RESTPath }

// Serve is the upstream's process. It serves this many users until in ends.
func Serve(users int, in io.Reader, out io.Writer) error {
	h, err := newHandler(users)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // it would only report cut connections
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	access := Access{Addr: listener.Addr().String(), Login: h.admin.LoginName, Password: h.admin.Password, APIKey: h.admin.APIKey}
	if err := json.NewEncoder(out).Encode(access); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Close()
	}()
	if err := <-served; err != http.ErrServerClosed {
		return err
	}
	return nil
}

// Upstream is an upstream in a process of its own.
type Upstream struct {
	Access
	worker *proc.Worker
	client *http.Client
}

// Start starts an upstream. The command must call Serve.
func Start(cmd *exec.Cmd) (*Upstream, error) {
	w, err := proc.StartWorker(cmd)
	if err != nil {
		return nil, err
	}
	u := &Upstream{worker: w, client: &http.Client{Timeout: time.Minute}}
	if err := json.NewDecoder(w.Out).Decode(&u.Access); err != nil {
		w.Stop()
		return nil, fmt.Errorf("the upstream did not start: %w", err)
	}
	return u, nil
}

// Stop ends the process.
func (u *Upstream) Stop() {
	u.client.CloseIdleConnections()
	u.worker.Stop()
}

// State returns what the upstream has counted, and starts MaxInFlight again.
func (u *Upstream) State(ctx context.Context) (s State, err error) {
	err = u.command(ctx, "state", &s)
	return s, err
}

// During returns what the upstream counts while do runs.
func (u *Upstream) During(ctx context.Context, do func() error) (State, error) {
	before, err := u.State(ctx)
	if err != nil {
		return State{}, err
	}
	if err := do(); err != nil {
		return State{}, err
	}
	after, err := u.State(ctx)
	return after.since(before), err
}

// SetLatency delays every call by d.
func (u *Upstream) SetLatency(ctx context.Context, d time.Duration) error {
	return u.command(ctx, "latency?is="+url.QueryEscape(d.String()), nil)
}

// KillSessions ends all sessions without a Logout, as ECGrid may do.
func (u *Upstream) KillSessions(ctx context.Context) error { return u.command(ctx, "kill", nil) }

// command sends a command, and decodes the answer into result unless that is nil.
func (u *Upstream) command(ctx context.Context, command string, result any) error {
	status, body, err := u.post(ctx, "http://"+u.Addr+adminPath+command, nil, "")
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("upstream %s: HTTP %d", command, status)
	case result == nil:
		return nil
	}
	return json.Unmarshal(body, result)
}

// Call makes a SOAP call, without the plugin.
func (u *Upstream) Call(ctx context.Context, op, body string) (status int, answer []byte, err error) {
	return u.post(ctx, u.SOAP(), SOAPHeader(op), body)
}

func (u *Upstream) post(ctx context.Context, url string, header map[string]string, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
