// Command ecgrid-simulator is a stand-in for ECGrid: ECGridOS v4.1 over SOAP,
// with its WSDL, and the REST API's keys, on one port of this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// Set by the linker: -X main.version=… -X main.commit=….
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ecgrid-simulator:", err)
		os.Exit(1)
	}
}

type settings struct {
	listen, readyFile, usersFile, caFile, clientIP string
	tls, version, help                             bool
	idle, forget                                   time.Duration
	sessionCap                                     int
}

func parse(args []string, out io.Writer) (settings, error) {
	var c settings
	f := flag.NewFlagSet("ecgrid-simulator", flag.ContinueOnError)
	f.SetOutput(io.Discard) // flag would print the whole help on every error
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "`host:port` to listen on; port 0 is any free one")
	f.StringVar(&c.readyFile, "ready-file", "", "`file` to write one JSON line to once listening: soap, wsdl, rest (URLs), login, password, low_login, low_password, user_id")
	f.StringVar(&c.usersFile, "users", "", "JSON `file` of the users there are, instead of the default ones")
	f.BoolVar(&c.tls, "tls", false, "serve https, with a certificate of a CA made for this run (needs --ca-file)")
	f.StringVar(&c.caFile, "ca-file", "", "`file` to write that CA to, PEM")
	f.DurationVar(&c.idle, "session-idle", simulator.DefaultIdleTimeout, "how long an unused session lives")
	f.IntVar(&c.sessionCap, "session-cap", simulator.DefaultSessionCap, "how many sessions a user may have open")
	f.StringVar(&c.clientIP, "client-ip", "real", "where requests seem to come from, which sessions are bound to: `real`, or connection or request, of which then each has an address of its own")
	f.DurationVar(&c.forget, "forget-idle", 0, "how long a connection may be idle before it goes silent, as behind a firewall that forgot it; 0 is for ever")
	f.BoolVar(&c.version, "version", false, "print the version and exit")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, "Usage: ecgrid-simulator [flags]\n\nA stand-in for ECGrid, until SIGINT or SIGTERM.\n\n")
		f.SetOutput(out)
		f.PrintDefaults()
		fmt.Fprint(out, usersHelp)
		c.help = true
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("%w (see --help)", err)
	}
	return c, c.check(f.Args())
}

// clientIPs are the values of --client-ip.
var clientIPs = map[string]func() func(*http.Request) string{
	"real":       func() func(*http.Request) string { return nil },
	"connection": func() func(*http.Request) string { return simulator.IPOfConnection },
	"request":    simulator.NewIPEachTime,
}

func (c settings) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: all settings are flags, see --help", rest[0])
	case c.tls != (c.caFile != ""):
		return errors.New("--tls and --ca-file go together: a client has to know the CA")
	case c.idle <= 0:
		return errors.New("--session-idle must be above 0")
	case c.forget < 0:
		return errors.New("--forget-idle must not be below 0")
	case clientIPs[c.clientIP] == nil:
		return errors.New("--client-ip must be real, connection or request")
	case c.sessionCap < 1:
		return errors.New("--session-cap must be at least 1")
	}
	return nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args, out)
	if err != nil || c.help {
		return err
	}
	if c.version {
		_, err = fmt.Fprintf(out, "ecgrid-simulator %s (%s)\n", version, commit)
		return err
	}
	users, err := loadUsers(c.usersFile)
	if err != nil {
		return err
	}
	server, err := simulator.Start(
		simulator.Options{Users: users, IdleTimeout: c.idle, SessionCap: c.sessionCap, ClientIP: clientIPs[c.clientIP]()},
		simulator.ServerOptions{Listen: c.listen, TLS: c.tls, ForgetAfter: c.forget})
	if err != nil {
		return err
	}
	if err := announce(c, server, out); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}

// announce writes the CA before the ready file, so that whoever sees the one can
// read the other.
func announce(c settings, server *simulator.Server, out io.Writer) error {
	if c.caFile != "" {
		if err := writeFile(c.caFile, server.CACert, 0o644); err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
	}
	if c.readyFile != "" {
		if err := writeReady(c.readyFile, server); err != nil {
			return fmt.Errorf("--ready-file: %w", err)
		}
	}
	_, err := fmt.Fprintf(out, "ecgrid-simulator: listening at %s\n", server.SOAP)
	return err
}
