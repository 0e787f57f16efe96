package kurrent_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// authority signs certificates and writes them to files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.key = a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue returns the files of a certificate and its key.
func (a *authority) issue(name string) (cert, key string) {
	k := a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", pkcs)
}

func TestTLSPasswordsAndCertificates(t *testing.T) {
	a := newAuthority(t)
	serverCert, serverKey := a.issue("server")
	aliceCert, aliceKey := a.issue("alice")
	malloryCert, malloryKey := a.issue("mallory")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := esdbserver.HashPassword("s3cr:t@")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, memlog.New(), esdbserver.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.pool},
		Users: []esdbserver.User{
			{Name: "bob", Hash: hash, Role: esdbserver.RoleCluster},
			{Name: "alice", Role: esdbserver.RoleCluster},
			{Name: "eve", Hash: hash, Role: esdbserver.RoleReader},
		},
	})
	ca := "tlsCaFile=" + filepath.Join(a.dir, "ca.pem")
	for what, c := range map[string]struct {
		uri  string
		want error // of Open or of an append
	}{
		"password":             {"esdb://bob:s3cr%3At%40@" + s.addr + "?" + ca, nil},
		"certificate":          {"esdb://" + s.addr + "?" + ca + "&userCertFile=" + aliceCert + "&userKeyFile=" + aliceKey, nil},
		"no check of the name": {"esdb://bob:s3cr%3At%40@" + s.addr + "?tlsVerifyCert=false", nil},
		"wrong password":       {"esdb://bob:s3cr@" + s.addr + "?" + ca, events.ErrDenied},
		"unknown user":         {"esdb://carol:s3cr%3At%40@" + s.addr + "?" + ca, events.ErrDenied},
		"unknown certificate":  {"esdb://" + s.addr + "?" + ca + "&userCertFile=" + malloryCert + "&userKeyFile=" + malloryKey, events.ErrDenied},
		"nobody":               {"esdb://" + s.addr + "?" + ca, events.ErrDenied},
		"a reader's append":    {"esdb://eve:s3cr%3At%40@" + s.addr + "?" + ca, events.ErrDenied},
		"unknown authority":    {"esdb://bob:s3cr%3At%40@" + s.addr, events.ErrUnavailable},
		"plain text":           {"esdb://bob:s3cr%3At%40@" + s.addr + "?tls=false", events.ErrUnavailable},
	} {
		var logged bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second) // the check of a password takes its time
		o := kurrent.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)), CallTimeout: 30 * time.Second}
		if errors.Is(c.want, events.ErrUnavailable) {
			ctx, cancel = context.WithTimeout(t.Context(), 600*time.Millisecond)
			o.Patience = 200 * time.Millisecond
		}
		l, err := kurrent.Open(ctx, c.uri, o)
		if err == nil {
			_, err = l.Append(ctx, "job-1", events.Any, eventstest.Draft("A"))
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		cancel()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr") || strings.Contains(logged.String(), "s3cr") {
			t.Errorf("%s: the password is in %v or %s", what, err, logged.String())
		}
		if what == "unknown authority" && (err == nil || !strings.Contains(err.Error(), "certificate")) {
			t.Errorf("the cause is missing: %v", err)
		}
	}
}

// TestTheOfficialClientReadsWhatIsWritten holds that events look to others as if the official client had written them.
func TestTheOfficialClientReadsWhatIsWritten(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	l := s.open(kurrent.Options{})
	cfg, err := esdb.ParseConnectionString(s.uri())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = nil
	client, err := esdb.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ours := eventstest.Draft("Ours")
	ours.JSON, ours.Data = true, []byte(`{"n":1}`)
	if _, err := l.Append(t.Context(), "shared", events.Absent, ours); err != nil {
		t.Fatal(err)
	}
	theirs := esdb.EventData{EventID: [16]byte(eventstest.NewID()), EventType: "Theirs", ContentType: esdb.ContentTypeBinary, Data: []byte{0xff}, Metadata: []byte{1}}
	if _, err := client.AppendToStream(t.Context(), "shared", esdb.AppendToStreamOptions{ExpectedRevision: esdb.Revision(0)}, theirs); err != nil {
		t.Fatal(err)
	}
	rs, err := client.ReadStream(t.Context(), "shared", esdb.ReadStreamOptions{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	e, err := rs.Recv()
	if err != nil || events.ID(e.Event.EventID) != ours.ID || e.Event.EventType != "Ours" || e.Event.ContentType != "application/json" ||
		!bytes.Equal(e.Event.Data, ours.Data) || !bytes.Equal(e.Event.UserMetadata, ours.Meta) {
		t.Errorf("the official client reads %+v, %v", e, err)
	}
	for r, err := range l.Read(t.Context(), "shared", events.Span{From: 1}) {
		if err != nil || r.ID != events.ID(theirs.EventID) || r.Type != "Theirs" || r.JSON || !bytes.Equal(r.Data, theirs.Data) || !bytes.Equal(r.Meta, theirs.Metadata) {
			t.Errorf("read %+v, %v", r, err)
		}
	}
}
