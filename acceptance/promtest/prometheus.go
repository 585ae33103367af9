// SPDX-License-Identifier: MPL-2.0

// Package promtest runs a real Prometheus for tests, and draws the panels of a Grafana
// dashboard from what it has scraped.
package promtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// ErrNotFound means that there is no such program. FindTool never builds one, since that takes
// longer than the timeout of go test.
var ErrNotFound = errors.New("not run: there is no such program; scripts/prometheus.sh builds it")

// FindTool returns the path of promtool or prometheus; root is the repository.
func FindTool(root, name string) (string, error) {
	cmd := exec.Command(filepath.Join(root, "scripts", "prometheus.sh"), name)
	cmd.Dir = root
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if exit.ExitCode() == 3 {
			return "", fmt.Errorf("%s: %w", name, ErrNotFound)
		}
		return "", fmt.Errorf("scripts/prometheus.sh: %w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// Server is a Prometheus that runs.
type Server struct {
	*vaulttest.Process
	addr string
}

// Serve starts a Prometheus in a directory with its prometheus.yaml.
func Serve(bin, dir string) (*Server, error) {
	addr, _, err := vaulttest.FreePorts()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address="+addr)
	cmd.Dir = dir
	p, err := vaulttest.Start(cmd, filepath.Join(dir, "prometheus.log"))
	return &Server{p, addr}, err
}

// Series is what a query returns for one set of labels.
type Series struct {
	Labels map[string]string `json:"metric"`
	Value  point             `json:"value"`  // of Query
	Values []point           `json:"values"` // of QueryRange
}

// point is a time and a value. In JSON it is [seconds, "value"].
type point struct {
	At    time.Time
	Value float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *point) UnmarshalJSON(raw []byte) error {
	var seconds float64
	var value string
	if err := json.Unmarshal(raw, &[]any{&seconds, &value}); err != nil {
		return err
	}
	p.At = time.UnixMilli(int64(seconds * 1000))
	var err error
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

// Get decodes the data of an API call.
func (s *Server) Get(path string, query url.Values, data any) error {
	resp, err := http.Get("http://" + s.addr + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// Query evaluates an expression now.
func (s *Server) Query(expr string) ([]Series, error) {
	var data struct{ Result []Series }
	err := s.Get("query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// QueryRange evaluates an expression each second of a time.
func (s *Server) QueryRange(expr string, from, to time.Time) ([]Series, error) {
	var data struct{ Result []Series }
	err := s.Get("query_range", url.Values{
		"query": {expr}, "step": {"1"},
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)},
	}, &data)
	return data.Result, err
}
