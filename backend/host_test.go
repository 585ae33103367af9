package backend

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// The stored credential goes to no host that only looks like the one that it is for,
// once it is in lower case: U+0130 becomes a plain i there, and another letter in DNS.
func TestAttackHostThatLooksTheSame(t *testing.T) {
	t.Parallel()
	const other = "https://os.ecgr\u0130d.io/v4.1/prod/ECGridOS.asmx"
	old := defaultConfig()
	old.Username, old.Password = "login", "right"
	if _, err := (ConfigPatch{URL: ptr(other)}).apply(&old); err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
		return
	}
	t.Errorf("the stored password may be sent to %s", dialled(t, other))
}

// dialled is the address that net/http would open a connection to.
func dialled(t *testing.T, url string) (to string) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			to = addr
			return nil, errAny
		},
	}}
	resp, err := client.Get(url)
	if err == nil {
		resp.Body.Close()
		t.Fatal("it was dialled")
	}
	return to
}
