package esdbserver

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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/shardy-network/orchestrator/events/memlog"
)

// authority signs certificates and writes them where clients find them.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = nil, nil
	a.sign("ca", true)
	return a
}

// sign makes a certificate whose common name is the name, and returns its files.
func (a *authority) sign(name string, ca bool) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if ca {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
		a.key = k
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func TestAccess(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.sign("server", false)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	hash := func(password string) string { return mustHash(t, password) }
	_, addr := serve(t, memlog.New(), Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, MinVersion: tls.VersionTLS12},
		Users: []User{
			{Name: "eve", Hash: hash("read me"), Role: RoleReader},
			{Name: "wendy", Hash: hash("write me"), Role: RoleWriter},
			{Name: "node-1", Role: RoleCluster},
		},
	})
	root := "&tlsCaFile=" + filepath.Join(ca.dir, "ca.crt")
	nodeCert, nodeKey := ca.sign("node-1", false)
	strangerCert, strangerKey := ca.sign("stranger", false)
	for _, c := range []struct {
		who, uri                string
		reads, writes, protects bool
		refused                 esdb.ErrorCode // of the first thing that he may not do
	}{
		{"reader", "esdb://eve:read%20me@" + addr + "?tls=true" + root, true, false, false, esdb.ErrorCodeAccessDenied},
		{"writer", "esdb://wendy:write%20me@" + addr + "?tls=true" + root, true, true, false, esdb.ErrorCodeAccessDenied},
		{"cluster by certificate", "esdb://" + addr + "?tls=true" + root + "&userCertFile=" + nodeCert + "&userKeyFile=" + nodeKey, true, true, true, 0},
		{"stranger with a certificate", "esdb://" + addr + "?tls=true" + root + "&userCertFile=" + strangerCert + "&userKeyFile=" + strangerKey, false, false, false, esdb.ErrorCodeUnauthenticated},
		{"nobody", "esdb://" + addr + "?tls=true" + root, false, false, false, esdb.ErrorCodeUnauthenticated},
		{"wrong password", "esdb://wendy:write%20us@" + addr + "?tls=true" + root, false, false, false, esdb.ErrorCodeUnauthenticated},
		{"by certificate alone", "esdb://node-1:@" + addr + "?tls=true" + root, false, false, false, esdb.ErrorCodeUnauthenticated},
	} {
		t.Run(c.who, func(t *testing.T) {
			client, ctx := dial(t, c.uri), limited(t)
			check := func(what string, may bool, err error) {
				t.Helper()
				if may == (err == nil || code(err) == esdb.ErrorCodeResourceNotFound) && (may || code(err) == c.refused) {
					return
				}
				t.Errorf("%s: %v", what, err)
			}
			for range 2 { // the second time from memory
				_, err := streamOf(ctx, client, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 1)
				check("read", c.reads, err)
			}
			_, err := client.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{}, event("E", `{}`))
			check("append", c.writes, err)
			for _, stream := range []string{"job-1", "$$job-1", "$system", "$$$system"} {
				_, err = client.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{}, event("E", `{}`))
				check("append to "+stream, c.protects, err)
			}
			for _, stream := range []string{configStream, "$$" + configStream, "$persistentsubscription-s::g-parked"} {
				if _, err = client.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{}, event("E", `{}`)); err == nil {
					t.Errorf("append to %s, which is the server's own", stream)
				}
			}
			_, err = client.DeleteStream(ctx, "worker-1", esdb.DeleteStreamOptions{})
			check("delete", c.protects, err)
			_, err = client.TombstoneStream(ctx, "worker-"+c.who, esdb.TombstoneStreamOptions{})
			check("tombstone", c.protects, err)
			err = client.CreatePersistentSubscription(ctx, "s", c.who, esdb.PersistentStreamSubscriptionOptions{Settings: settings(nil)})
			check("create a group", c.writes, err)
		})
	}
}

func TestReadOnly(t *testing.T) {
	_, addr := serve(t, memlog.New(), Config{ReadOnly: true})
	c := dial(t, "esdb://"+addr+"?tls=false")
	if _, err := c.AppendToStream(limited(t), "s", esdb.AppendToStreamOptions{}, event("E", `{}`)); code(err) != esdb.ErrorCodeAccessDenied {
		t.Errorf("append: %v", err)
	}
	if err := c.CreatePersistentSubscription(limited(t), "s", "g", esdb.PersistentStreamSubscriptionOptions{}); code(err) != esdb.ErrorCodeAccessDenied {
		t.Errorf("group: %v", err)
	}
}

// TestOpenServerStaysAtHome: without users the server does not listen where strangers are.
func TestOpenServerStaysAtHome(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	log := memlog.New()
	defer log.Close()
	s, err := New(log, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Serve(l); !errors.Is(err, ErrOpen) {
		t.Errorf("serve: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still there: %v", err)
	}
}

func TestConfigRefusals(t *testing.T) {
	h, err := hashPassword("x", 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]Config{
		"negative limit":      {MaxConns: -1},
		"small messages":      {MaxMessageBytes: 1},
		"user twice":          {Users: []User{{"a", h, RoleReader}, {"a", h, RoleReader}}},
		"user without role":   {Users: []User{{"a", h, RoleNone}}},
		"user without proof":  {Users: []User{{"a", "", RoleReader}}},
		"colon in the name":   {Users: []User{{"a:b", h, RoleReader}}},
		"hash that is none":   {Users: []User{{"a", "secret", RoleReader}}},
		"advertised nonsense": {Advertise: "here"},
	} {
		if _, err := New(nil, c); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	for _, r := range []Role{RoleReader, RoleWriter, RoleCluster} {
		if p, err := ParseRole(r.String()); err != nil || p != r {
			t.Errorf("%v: %v, %v", r, p, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	h, err := hashPassword("x", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h)
	f.Add("pbkdf2-sha256$1$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err == nil && (h.rounds < 1 || len(h.key) == 0) {
			t.Errorf("%+v", h)
		}
	})
}

func FuzzParseUUID(f *testing.F) {
	f.Add("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := parseUUID(s)
		if err != nil {
			return
		}
		if again, err := parseUUID(id.String()); err != nil || !bytes.Equal(again[:], id[:]) {
			t.Errorf("%q: %v, %v", s, id, err)
		}
	})
}

func TestPasswordHash(t *testing.T) {
	s, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHash(s)
	if err != nil || !h.matches("correct horse") || h.matches("correct horsf") || h.rounds != hashRounds {
		t.Errorf("%+v, %v", h, err)
	}
	if other, err := HashPassword("correct horse"); err != nil || other == s {
		t.Errorf("no salt: %v", err)
	}
	if _, err := HashPassword(fmt.Sprintf("%*d", MaxPassword+1, 0)); err == nil {
		t.Error("too long a password was taken")
	}
}
