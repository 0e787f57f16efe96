package operator_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// TestQuietWatchesLive: a watch that has nothing to tell outlives the deadlines of reads and writes, on both versions of
// HTTP and in all protocols, and still tells what comes then.
func TestQuietWatchesLive(t *testing.T) {
	cfg := guarded()
	cfg.Tokens, cfg.Listen = nil, "127.0.0.1:0"
	cfg.ReadTimeout, cfg.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	w := operatortest.Start(t, cfg)
	module := w.Module(t)
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	over2 := &http.Transport{Protocols: &h2}
	t.Cleanup(over2.CloseIdleConnections)
	type quiet struct {
		name   string
		stream *connect.ServerStreamForClient[operatorv1.WatchJobsResponse]
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var watches []quiet
	for name, c := range map[string]struct {
		rt  http.RoundTripper
		opt []connect.ClientOption
	}{
		"http/1.1":    {http.DefaultTransport, nil},
		"http/2":      {over2, nil},
		"http/2 grpc": {over2, []connect.ClientOption{connect.WithGRPC()}},
		"grpc-web":    {http.DefaultTransport, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		s, err := op.NewJobServiceClient(&http.Client{Transport: c.rt}, w.URL, c.opt...).WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
		if err != nil || !s.Receive() {
			t.Fatal(name, err, s.Err())
		}
		watches = append(watches, quiet{name, s})
	}
	time.Sleep(400 * time.Millisecond) // the fact to wait for is that nothing happens
	id := submit(t, dial(w, ""), newJob(module, "x"))[0]
	for _, q := range watches {
		if !q.stream.Receive() || q.stream.Msg().Updates[0].Id != id {
			t.Errorf("%s: %v", q.name, q.stream.Err())
		}
	}
	cancel()
	for _, q := range watches {
		q.stream.Close()
	}
}
