package ecgrid

import (
	"strings"
	"sync"
)

// logRecorder keeps what the plugin logs.
type logRecorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logRecorder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logRecorder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func contains(text, secret string) bool { return secret != "" && strings.Contains(text, secret) }
