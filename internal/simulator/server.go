// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/testcert"
)

// ServerOptions are the options of a Server.
type ServerOptions struct {
	// Listen is host:port; "" is 127.0.0.1:0.
	Listen string
	// TLS serves https with a certificate of a CA made for this Server.
	TLS bool
	// Certificate serves https with this certificate. There is no CA then.
	Certificate *tls.Certificate
	// Hosts are further names in the certificate, besides localhost, 127.0.0.1, ::1 and
	// the host of Listen.
	Hosts []string
	// ForgetAfter makes connections silent that were idle so long, by Options.Clock, as a
	// firewall does that forgot them. They stay open, and requests on them are read and
	// neither counted nor answered. 0 is never.
	ForgetAfter time.Duration
}

// Server is a Simulator with a listener.
type Server struct {
	*Simulator
	// SOAP, WSDL, REST and Admin are URLs.
	SOAP, WSDL, REST, Admin string
	// Addr is the host:port of all of them.
	Addr string
	// CACert is the CA to trust, in PEM; nil unless ServerOptions.TLS made it.
	CACert []byte

	http        *http.Server
	done        chan error
	accepted    atomic.Int64
	forgetAfter time.Duration
	generation  atomic.Int64 // connections of an older one are silent
	swallowed   atomic.Int64
}

// Start makes a Simulator and serves it until Close.
func Start(o Options, so ServerOptions) (*Server, error) {
	sim, err := New(o)
	if err != nil {
		return nil, err
	}
	if so.Listen == "" {
		so.Listen = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", so.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{Simulator: sim, done: make(chan error, 1), forgetAfter: so.ForgetAfter}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // tests close connections on purpose
		ConnState:         s.countConnections,
		ConnContext:       s.withConnection,
	}
	scheme := "http"
	if so.TLS || so.Certificate != nil {
		scheme = "https"
		if listener, err = s.withTLS(listener, so); err != nil {
			return nil, err
		}
	}
	s.setURLs(scheme, dialAddress(listener.Addr()))
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// dialAddress replaces an unspecified address by 127.0.0.1.
func dialAddress(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", itoa(tcp.Port))
}

func (s *Server) setURLs(scheme, addr string) {
	base := scheme + "://" + addr
	s.Addr = addr
	s.SOAP, s.WSDL = base+SOAPPath, base+SOAPPath+"?WSDL"
	s.REST, s.Admin = base+RESTPath, base+AdminPath
}

// URL returns the endpoint of a transport, or "" if there is no such transport.
func (s *Server) URL(transport string) string {
	return map[string]string{TransportSOAP: s.SOAP, TransportREST: s.REST}[transport]
}

// Connections returns how many connections were accepted.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

func (s *Server) countConnections(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.accepted.Add(1)
	}
}

// Close stops listening and closes all connections.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.done <- http.ErrServerClosed // for a second Close
	return err
}

// withTLS wraps a listener in TLS. It closes the listener if there is no certificate.
func (s *Server) withTLS(listener net.Listener, so ServerOptions) (net.Listener, error) {
	if so.Certificate == nil {
		cert, err := s.newCertificate(so)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		so.Certificate = &cert
	}
	// HTTP/1.1 only, as IIS serves .asmx. Faults can then close a connection.
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{*so.Certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}), nil
}

// newCertificate makes a certificate of a new CA.
func (s *Server) newCertificate(so ServerOptions) (tls.Certificate, error) {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, so.Hosts...)
	if host, _, err := net.SplitHostPort(so.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	authority, err := testcert.NewAuthority()
	if err != nil {
		return tls.Certificate{}, err
	}
	s.CACert = authority.PEM
	return authority.Issue(hosts...)
}
