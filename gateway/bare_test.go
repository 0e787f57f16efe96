package gateway_test

import (
	"bufio"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/shardy-network/orchestrator/gateway/wire"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// bareHandshake leads a plain socket to credits, with the WebSocket framing done by hand.
func bareHandshake(c net.Conn, key ed25519.PrivateKey) error {
	public := key.Public().(ed25519.PublicKey)
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "GET /ws/worker HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", wire.Subprotocol)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("HTTP %s", resp.Status)
	}
	say := func(m *workerv1.FromWorker) error {
		b, err := wire.AppendFromWorker(nil, m)
		if err == nil {
			_, err = c.Write(maskedFrame(b))
		}
		return err
	}
	if err := say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: public, Version: 1}}}); err != nil {
		return err
	}
	m, err := hearBare(r)
	if err != nil {
		return err
	}
	ch := m.GetChallenge()
	proof := &workerv1.Proof{Signature: ed25519.Sign(key, wire.HelloText(ch.GetNonce(), ch.GetServerKey(), public, nil))}
	if err := say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: proof}}); err != nil {
		return err
	}
	if err := say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_ProfileV2{ProfileV2: &workerv1.ProfileV2{Profile: honestProfile()}}}); err != nil {
		return err
	}
	for {
		m, err := hearBare(r)
		if err != nil {
			return err
		}
		if m.GetAdmitted() != nil {
			return say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Credits{Credits: &workerv1.Credits{Credits: 1}}})
		}
	}
}

// hearBare reads the next message; pings are passed over.
func hearBare(r *bufio.Reader) (*workerv1.FromOrchestrator, error) {
	body, err := frameBare(r)
	if err != nil {
		return nil, err
	}
	return wire.DecodeFromOrchestrator(body)
}

// frameBare reads the next binary frame.
func frameBare(r *bufio.Reader) ([]byte, error) {
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, err
		}
		n := int(head[1] & 0x7f)
		if n == 126 {
			more := make([]byte, 2)
			if _, err := io.ReadFull(r, more); err != nil {
				return nil, err
			}
			n = int(more[0])<<8 | int(more[1])
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		if head[0]&0xf == 2 {
			return body, nil
		}
	}
}
