package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) meshCommand() *cobra.Command {
	c := &cobra.Command{Use: "mesh", Short: "See which other orchestrators this one is connected with"}
	c.AddCommand(a.meshStatus(), a.meshPeers(), a.meshTopics(), a.meshOrchestrators())
	return c
}

// meshView makes a command that shows a part of what the mesh says of itself.
func (a *app) meshView(show func(*operatorv1.GetMeshResponse) error) func(*cobra.Command, []string) error {
	return a.call(func(ctx context.Context, _ []string) error {
		api, err := a.dial()
		if err != nil {
			return err
		}
		m, err := api.GetMesh(ctx, &operatorv1.GetMeshRequest{})
		if err != nil {
			return err
		}
		return show(m)
	})
}

func (a *app) meshStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how this orchestrator's side of the mesh stands", Args: cobra.NoArgs, Example: "  shardy mesh status --json",
		RunE: a.meshView(func(m *operatorv1.GetMeshResponse) error {
			if a.json {
				return a.printMessage(m)
			}
			role := "no validator"
			if m.Validator {
				role = "validator"
			}
			return a.facts("peer", m.Peer, "node", strings.TrimSpace(m.Node+" "+m.Version), "chain", fmt.Sprintf("%s, height %d, %s", m.ChainId, m.Height, role),
				"since", when(m.SinceUs), "listens", strings.Join(m.Listen, "\n\t"),
				"peers", fmt.Sprintf("%d connected, %d in the table of routes, %d known", len(m.Peers), m.Routes, m.Known),
				"validators", fmt.Sprintf("%d, of the others %d connected", m.Validators, m.ValidatorsReached), "alive", fmt.Sprintf("%d other orchestrators", len(m.Orchestrators)),
				"refused", fmt.Sprintf("%d at the gate, %d messages beyond an allowance", m.Refused, m.Cut), "queued", fmt.Sprintf("%d transactions", m.Queued),
				"traffic", fmt.Sprintf("%s in, %s out", bytesText(m.BytesIn), bytesText(m.BytesOut)))
		}),
	}
}

func (a *app) meshPeers() *cobra.Command {
	return &cobra.Command{
		Use: "peers", Short: "List the peers that are connected", Args: cobra.NoArgs, Example: "  shardy mesh peers",
		RunE: a.meshView(func(m *operatorv1.GetMeshResponse) error {
			return printList(a, "peers", m.Peers, "", "PEER NODE VOTES HEIGHT DIRECTION LATENCY SCORE IN OUT", func(p *operatorv1.MeshPeer) []any {
				return []any{
					peerText(p.Peer), clip(p.Node, 12), word(p.Validator, "yes"), p.Height, p.Direction, latencyText(p.LatencyUs), fmt.Sprintf("%.1f", p.Score),
					bytesText(p.BytesIn), bytesText(p.BytesOut),
				}
			})
		}),
	}
}

func (a *app) meshTopics() *cobra.Command {
	return &cobra.Command{
		Use: "topics", Short: "List the topics of gossip and what became of their messages", Args: cobra.NoArgs, Example: "  shardy mesh topics",
		RunE: a.meshView(func(m *operatorv1.GetMeshResponse) error {
			return printList(a, "topics", m.Topics, "", "TOPIC PEERS ACCEPTED PUBLISHED BYTES AGAIN REJECTED IGNORED LOST", func(t *operatorv1.MeshTopic) []any {
				return []any{
					t.Name, t.Peers, t.Accepted, t.Published, bytesText(t.Bytes), t.Duplicates, t.Rejected, t.Ignored,
					t.Throttled + t.Overflowed + t.NotSent,
				}
			})
		}),
	}
}

func (a *app) meshOrchestrators() *cobra.Command {
	return &cobra.Command{
		Use: "orchestrators", Short: "List the other orchestrators that say they live", Args: cobra.NoArgs, Example: "  shardy mesh orchestrators",
		RunE: a.meshView(func(m *operatorv1.GetMeshResponse) error {
			return printList(a, "orchestrators", m.Orchestrators, "", "KEY NODE VERSION VOTES HEIGHT IDLE CREDITS SEEN", func(o *operatorv1.MeshOrchestrator) []any {
				return []any{
					shortID(o.Key), clip(o.Node, 12), clip(o.Version, 8), word(o.Validator, "yes"), o.Height, strings.Trim(fmt.Sprint(o.Idle), "[]"), o.FreeCredits,
					when(o.SeenUs),
				}
			})
		}),
	}
}

// peerText is the end of a peer id: all begin alike.
func peerText(id string) string {
	if len(id) <= 16 {
		return id
	}
	return "…" + id[len(id)-12:]
}

// clip keeps the names that strangers give themselves short and harmless.
func clip(s string, limit int) string {
	r := []rune(printable(s))
	if len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return string(r)
}

func latencyText(us int64) string {
	if us <= 0 {
		return ""
	}
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Microsecond).String()
}
