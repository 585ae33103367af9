// SPDX-License-Identifier: MPL-2.0

// Command demokit has helpers for make demo and make dev, which then need neither curl nor
// jq:
//
//	demokit field READY NAME        one field of the simulator's ready file
//	demokit port                    a free TCP port of the loopback
//	demokit rest READY CA < KEY     GET /users/me with the key from stdin
//	demokit sessions READY CA       the number of open ECGrid sessions
//
// READY is the file of ecgrid-simulator --ready-file, CA that of --ca-file.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const maxAnswer = 1 << 20

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demokit:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "field":
		return field(out, args[1], args[2])
	case len(args) == 1 && args[0] == "port":
		return port(out)
	case len(args) == 3 && args[0] == "rest":
		return rest(in, out, args[1], args[2])
	case len(args) == 3 && args[0] == "sessions":
		return sessions(out, args[1], args[2])
	}
	return errors.New("usage: demokit field READY NAME | port | rest READY CA | sessions READY CA")
}

type ready map[string]any

func readReady(path string) (ready, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var r ready
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r ready) text(name string) (string, error) {
	v, ok := r[name]
	if !ok {
		return "", fmt.Errorf("the ready file has no %q", name)
	}
	return fmt.Sprint(v), nil
}

// field prints no newline: vault uses every byte of a file as the value.
func field(out io.Writer, path, name string) error {
	r, err := readReady(path)
	if err != nil {
		return err
	}
	v, err := r.text(name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, v)
	return err
}

func port(out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = fmt.Fprintln(out, l.Addr().(*net.TCPAddr).Port)
	return err
}

// newClient trusts caFile and nothing else.
func newClient(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s contains no certificate", caFile)
	}
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}, nil
}

func rest(in io.Reader, out io.Writer, readyFile, caFile string) error {
	r, err := readReady(readyFile)
	if err != nil {
		return err
	}
	base, err := r.text("rest")
	if err != nil {
		return err
	}
	key, err := io.ReadAll(io.LimitReader(in, 4096))
	if err != nil {
		return err
	}
	c, err := newClient(caFile)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodGet, strings.TrimRight(base, "/")+"/users/me", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", strings.TrimSpace(string(key)))
	status, body, err := send(c, req)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "HTTP %d  %s\n", status, strings.TrimSpace(string(body)))
	if status != http.StatusOK {
		return fmt.Errorf("ECGrid's REST API answered %d", status)
	}
	return nil
}

func send(c *http.Client, req *http.Request) (int, []byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}

// sessions uses the simulator's admin endpoint, which needs no session.
func sessions(out io.Writer, readyFile, caFile string) error {
	r, err := readReady(readyFile)
	if err != nil {
		return err
	}
	soap, err := r.text("soap")
	if err != nil {
		return err
	}
	u, err := url.Parse(soap)
	if err != nil {
		return err
	}
	u.Path, u.RawQuery = "/simulator/state", ""
	c, err := newClient(caFile)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	status, body, err := send(c, req)
	if err != nil {
		return err
	}
	var state struct {
		OpenSessions *int `json:"open_sessions"`
	}
	if err := json.Unmarshal(body, &state); err != nil || state.OpenSessions == nil {
		return fmt.Errorf("the simulator answered HTTP %d and no number of sessions", status)
	}
	_, err = fmt.Fprintln(out, *state.OpenSessions)
	return err
}
