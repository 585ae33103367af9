package simulator

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// ServerOptions say where a Server listens.
type ServerOptions struct {
	// Listen is host:port; "" is 127.0.0.1:0.
	Listen string
	// TLS serves https with a certificate of a CA made for this Server.
	TLS bool
	// Hosts are further names the certificate is good for, besides localhost,
	// 127.0.0.1, ::1 and Listen's.
	Hosts []string
	// ForgetAfter has connections go silent that were idle so long, by Options.Clock,
	// as behind a firewall that forgot them: they stay open, and what is sent on them
	// is swallowed, unseen and unanswered. 0 is never.
	ForgetAfter time.Duration
}

// Server is a Simulator that listens.
type Server struct {
	*Simulator
	// SOAP, WSDL, REST and Admin are URLs.
	SOAP, WSDL, REST, Admin string
	// CACert is the CA to trust, PEM; nil without TLS.
	CACert []byte

	http        *http.Server
	done        chan error
	accepted    atomic.Int64
	forgetAfter time.Duration
	generation  atomic.Int64 // of connections: older ones are forgotten
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
		ErrorLog:          log.New(io.Discard, "", 0), // cut connections are what tests ask for
		ConnState:         s.countConnections,
		ConnContext:       s.withConnection,
	}
	scheme := "http"
	if so.TLS {
		scheme = "https"
		if listener, err = s.secure(listener, so); err != nil {
			return nil, err
		}
	}
	s.name(scheme + "://" + reachable(listener.Addr()))
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// reachable is an address to connect to: listening everywhere includes 127.0.0.1.
func reachable(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", itoa(tcp.Port))
}

func (s *Server) name(base string) {
	s.SOAP, s.WSDL = base+SOAPPath, base+SOAPPath+"?WSDL"
	s.REST, s.Admin = base+RESTPath, base+AdminPath
}

// Connections is how many connections have been accepted.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

func (s *Server) countConnections(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.accepted.Add(1)
	}
}

// Close stops listening and cuts what is open.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.done <- http.ErrServerClosed // a second Close finds it closed
	return err
}

// secure wraps a listener in TLS with a fresh certificate.
func (s *Server) secure(listener net.Listener, so ServerOptions) (net.Listener, error) {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, so.Hosts...)
	if host, _, err := net.SplitHostPort(so.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	ca, cert, err := newCertificate(hosts)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", errors.Join(err, listener.Close()))
	}
	s.CACert = ca
	// HTTP/1.1 only: .asmx behind IIS is, and a connection can be cut.
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}), nil
}

// newCertificate is a CA, as PEM, and a server certificate of it.
func newCertificate(hosts []string) (ca []byte, cert tls.Certificate, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, cert, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, cert, err
	}
	root := template("ECGrid simulator CA")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, cert, err
	}
	leaf := template("ECGrid simulator")
	leaf.ExtKeyUsage, leaf.KeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, x509.KeyUsageDigitalSignature
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, h)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, caKey)
	if err != nil {
		return nil, cert, err
	}
	var out bytes.Buffer
	err = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	return out.Bytes(), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}, err
}

// template lives long on both sides of now, whatever a test's clock says.
func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // crypto/rand does not fail
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.AddDate(-1, 0, 0),
		NotAfter:     now.AddDate(10, 0, 0),
	}
}
