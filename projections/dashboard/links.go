package dashboard

import (
	"encoding/hex"
	"fmt"
	"net/url"
)

// Where things are. Templates and cells take links from here only.

func linkOverview() string { return "/" }

func linkLogin(next string) string {
	if next == "/" {
		return "/login"
	}
	return "/login?" + url.Values{"next": {next}}.Encode()
}

func linkJobs() string                { return "/jobs" }
func linkJob(id string) string        { return "/jobs/" + url.PathEscape(id) }
func linkPipelines() string           { return "/pipelines" }
func linkPipeline(id string) string   { return "/pipelines/" + url.PathEscape(id) }
func linkDeadLetters() string         { return "/deadletters" }
func linkWorkers() string             { return "/workers" }
func linkWorker(key []byte) string    { return "/workers/" + hex.EncodeToString(key) }
func linkProjections() string         { return "/projections" }
func linkDiagnostics() string         { return "/diagnostics" }
func linkEvents() string              { return "/events" }
func linkStream(stream string) string { return "/events/streams/" + url.PathEscape(stream) }

func linkLedger() string            { return "/ledger" }
func linkMesh() string              { return "/mesh" }
func linkAccounts() string          { return "/ledger/accounts" }
func linkAccount(key []byte) string { return linkAccounts() + "/" + hex.EncodeToString(key) }
func linkBlocks() string            { return "/ledger/blocks" }
func linkTransactions() string      { return "/ledger/transactions" }

// linkBlock leads to a block by its height.
func linkBlock(height uint64) string { return fmt.Sprintf("%s/%d", linkBlocks(), height) }

// linkTransaction leads to a transaction. Old ones are found only in their block.
func linkTransaction(id []byte, height uint64) string {
	return fmt.Sprintf("%s/%x?block=%d", linkTransactions(), id, height)
}

// linkRecord leads to one event of a stream.
func linkRecord(stream string, rev uint64) string {
	return fmt.Sprintf("%s/%d", linkStream(stream), rev)
}

// linkDeadLetter leads to a job as a dead letter.
func linkDeadLetter(id string) string { return linkDeadLetters() + "/" + url.PathEscape(id) }

// list adds a query to a list's path. Pairs with empty values are left out.
func list(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
