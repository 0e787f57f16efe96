package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// BootstrapPath is where the handler is to be mounted.
const BootstrapPath = "/api/libp2p/bootstrap"

const (
	maxBootstrapBytes = 64 << 10
	maxBootstrapPeers = 16
)

// ErrBootstrap is an answer of another orchestrator that cannot be used.
var ErrBootstrap = errors.New("mesh: bad bootstrap answer")

// Bootstrap is what BootstrapPath answers, as JSON.
type Bootstrap struct {
	PeerID    string   `json:"peer_id"`
	Chain     string   `json:"chain"`
	Addresses []string `json:"addresses"` // multiaddrs with /p2p, of this orchestrator
	Peers     []string `json:"peers"`     // likewise, of some others that it is connected to
}

// Bootstrap says where this orchestrator, and some that it knows, can be met.
func (m *Mesh) Bootstrap() Bootstrap {
	b := Bootstrap{PeerID: m.PeerID(), Chain: m.cfg.Chain, Addresses: []string{}, Peers: []string{}}
	for _, a := range m.host.Addrs() {
		b.Addresses = append(b.Addresses, a.String()+"/p2p/"+b.PeerID)
	}
	for _, id := range m.host.Network().Peers() {
		o, ok := m.table.find(id) // only who says itself where it can be met
		if ok && len(o.Addresses) > 0 && len(b.Peers) < maxBootstrapPeers {
			b.Peers = append(b.Peers, o.Addresses[0]+"/p2p/"+o.Peer)
		}
	}
	return b
}

// BootstrapHandler answers GET and HEAD.
func (m *Mesh) BootstrapHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		b, err := json.Marshal(m.Bootstrap())
		if err != nil {
			http.Error(w, "not encodable", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(b) // the client has gone: nobody to tell
	})
}

// AskBootstrap fetches the addresses that an orchestrator hands out, for Config.Bootstrap. chain is the one expected.
func AskBootstrap(ctx context.Context, client *http.Client, url, chain string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBootstrap, err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("mesh: bootstrap: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s", ErrBootstrap, answer.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxBootstrapBytes+1))
	if err != nil {
		return nil, fmt.Errorf("mesh: bootstrap: %w", err)
	}
	return parseBootstrap(raw, chain)
}

// parseBootstrap returns addresses that can be dialed as they are.
func parseBootstrap(raw []byte, chain string) ([]string, error) {
	var b Bootstrap
	if len(raw) > maxBootstrapBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBootstrap, maxBootstrapBytes)
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBootstrap, err)
	}
	if b.Chain != chain {
		return nil, fmt.Errorf("%w: chain %q, want %q", ErrBootstrap, b.Chain, chain)
	}
	if len(b.Addresses) > 2*maxBootstrapPeers || len(b.Peers) > maxBootstrapPeers {
		return nil, fmt.Errorf("%w: %d addresses, %d peers", ErrBootstrap, len(b.Addresses), len(b.Peers))
	}
	all := append(b.Addresses, b.Peers...)
	if _, err := AddrInfos(all); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBootstrap, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no addresses", ErrBootstrap)
	}
	return all, nil
}
