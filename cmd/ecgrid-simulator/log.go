// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"vault-plugin-ecgrid/internal/simulator"
)

// toStdout is the value of --log for standard output.
const toStdout = "-"

// requestLog writes whole lines, also if requests end at the same time. A nil file logs
// nothing.
type requestLog struct {
	mu   sync.Mutex
	to   io.Writer // nil is no log
	file *os.File  // to close; nil for standard output
}

func openLog(path string, out io.Writer) (*requestLog, error) {
	switch path {
	case "":
		return &requestLog{}, nil
	case toStdout:
		return &requestLog{to: out}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	return &requestLog{to: f, file: f}, nil
}

// logger returns nil if there is no log.
func (l *requestLog) logger() func(simulator.LogEntry) {
	if l.to == nil {
		return nil
	}
	return func(e simulator.LogEntry) {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, _ = fmt.Fprintln(l.to, e) // a full disk must not stop the simulator
	}
}

// terminal is standard output for what is no log line. It shares the lock with the log.
func (l *requestLog) terminal(out io.Writer) io.Writer { return &lockedWriter{&l.mu, out} }

// Close closes the file.
func (l *requestLog) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

type lockedWriter struct {
	mu  *sync.Mutex
	out io.Writer
}

// Write writes under the lock.
func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}
