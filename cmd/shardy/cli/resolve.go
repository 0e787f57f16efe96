package cli

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	minPrefix = 4    // characters of a short id
	maxLookup = 5000 // rows that are looked at to complete a short id
)

// candidates yields the ids of a list, page by page.
type candidates func(token string) (ids []string, next string, err error)

// complete finds the one id that begins with the text. Whole ids are taken as they are.
func complete(what, text string, whole func(string) bool, list candidates) (string, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if whole(text) {
		return text, nil
	}
	if len(text) < minPrefix {
		return "", usage("%s %q: give the whole id or its first characters, at least %d", what, text, minPrefix)
	}
	var found []string
	token, seen := "", 0
	for {
		ids, next, err := list(token)
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			if strings.HasPrefix(id, text) {
				found = append(found, id)
			}
		}
		if seen += len(ids); next == "" || seen >= maxLookup || len(found) > 1 {
			break
		}
		token = next
	}
	switch len(found) {
	case 0:
		return "", failed(exitNotFound, "no %s begins with %q", what, text)
	case 1:
		return found[0], nil
	default:
		return "", usage("%s %q is not unique: %s, ...", what, text, strings.Join(found[:2], ", "))
	}
}

func isEntityID(s string) bool { return events.CheckEntityID(s) == nil }

func isHex32(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// about makes a command about the one thing that its first argument names.
func about[T any](a *app, resolve func(*api, context.Context, string) (T, error), do func(context.Context, *api, T) error) func(*cobra.Command, []string) error {
	return a.call(func(ctx context.Context, args []string) error {
		api, err := a.dial()
		if err != nil {
			return err
		}
		subject, err := resolve(api, ctx, args[0])
		if err != nil {
			return err
		}
		return do(ctx, api, subject)
	})
}

func (c *api) jobID(ctx context.Context, text string) (string, error) {
	return complete("job", text, isEntityID, func(token string) ([]string, string, error) {
		res, err := c.ListJobs(ctx, &operatorv1.ListJobsRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Jobs))
		for i, j := range res.Jobs {
			ids[i] = j.Id
		}
		return ids, res.NextPageToken, nil
	})
}

func (c *api) deadLetterID(ctx context.Context, text string) (string, error) {
	return complete("dead letter", text, isEntityID, func(token string) ([]string, string, error) {
		res, err := c.ListDeadLetters(ctx, &operatorv1.ListDeadLettersRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.DeadLetters))
		for i, d := range res.DeadLetters {
			ids[i] = d.Id
		}
		return ids, res.NextPageToken, nil
	})
}

func (c *api) pipelineID(ctx context.Context, text string) (string, error) {
	return complete("pipeline", text, isEntityID, func(token string) ([]string, string, error) {
		res, err := c.ListPipelines(ctx, &operatorv1.ListPipelinesRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Pipelines))
		for i, p := range res.Pipelines {
			ids[i] = p.Id
		}
		return ids, res.NextPageToken, nil
	})
}

func (c *api) workerKey(ctx context.Context, text string) ([]byte, error) {
	id, err := complete("worker", text, isHex32, func(token string) ([]string, string, error) {
		res, err := c.ListWorkers(ctx, &operatorv1.ListWorkersRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Workers))
		for i, w := range res.Workers {
			ids[i] = hexID(w.Key)
		}
		return ids, res.NextPageToken, nil
	})
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(id)
}

func (c *api) moduleName(ctx context.Context, text string) ([]byte, error) {
	id, err := complete("module", text, isHex32, func(token string) ([]string, string, error) {
		res, err := c.ListModules(ctx, &operatorv1.ListModulesRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Modules))
		for i, m := range res.Modules {
			ids[i] = hexID(m.Name)
		}
		return ids, res.NextPageToken, nil
	})
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(id)
}
