package operator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// moduleIndex holds the names of all admitted modules: 32 bytes each, for good.
type moduleIndex struct {
	mu    sync.RWMutex
	names map[[32]byte]struct{}
}

func newModuleIndex() *moduleIndex { return &moduleIndex{names: map[[32]byte]struct{}{}} }

func (x *moduleIndex) admitted(name []byte) bool {
	if len(name) != 32 {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.names[[32]byte(name)]
	return ok
}

func (x *moduleIndex) add(name []byte) {
	if len(name) != 32 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names[[32]byte(name)] = struct{}{}
}

// load takes the whole list of the catalogue.
func (x *moduleIndex) load(ctx context.Context, list Catalogue) error {
	page := Page{Limit: maxPage}
	for {
		rows, next, err := list.Modules(ctx, page)
		if err != nil {
			return err
		}
		for _, m := range rows {
			x.add(m.Name)
		}
		if next == "" {
			return nil
		}
		page.After = next
	}
}

func moduleAddress(original []byte) actors.Address {
	sum := sha256.Sum256(original)
	return actors.Address{Room: actors.ModuleRoom, ID: fmt.Sprintf("%x", sum)}
}

// AdmitModule lints, rewrites and tries a module, and records the outcome. What the module itself cannot be blamed for
// is not recorded.
func (a *API) AdmitModule(ctx context.Context, req *operatorv1.AdmitModuleRequest) (*operatorv1.AdmitModuleResponse, error) {
	switch {
	case len(req.Module) == 0 || len(req.Module) > MaxModuleBytes:
		return nil, refuse("module", "1 byte to 1 MiB")
	case len(req.Canary) > MaxCanaryBytes:
		return nil, refuse("canary", "above 64 KiB")
	case req.Reviewed && !callerOf(ctx).is(byAdmin):
		return nil, errRole
	}
	select {
	case a.trials <- struct{}{}:
		defer func() { <-a.trials }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	at := moduleAddress(req.Module)
	known, err := a.knownModule(ctx, at)
	if _, refused := errors.AsType[*ModuleRefusal](err); err != nil && !(refused && req.Reviewed) {
		return nil, err
	}
	if known != nil {
		return &operatorv1.AdmitModuleResponse{Module: known}, nil
	}
	admit, err := a.tryModule(ctx, req)
	if refused, ok := errors.AsType[*ModuleRefusal](err); ok {
		sum := sha256.Sum256(req.Module)
		_, derr := a.deps.Orchestrator.Do(ctx, at, &eventv1.Command{Kind: &eventv1.Command_RefuseModule{
			RefuseModule: &eventv1.RefuseModule{Original: sum[:], Code: refused.Code, Detail: refused.Detail},
		}})
		if derr != nil {
			return nil, derr
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := a.deps.Orchestrator.Do(ctx, at, &eventv1.Command{Kind: &eventv1.Command_AdmitModule{AdmitModule: admit}}); err != nil {
		return nil, err
	}
	known, err = a.knownModule(ctx, at)
	if known == nil && err == nil {
		err = fmt.Errorf("%w: %s has no verdict", events.ErrMalformed, at.Stream())
	}
	if err != nil {
		return nil, err
	}
	return &operatorv1.AdmitModuleResponse{Module: known}, nil
}

// knownModule answers with the module's first verdict, the refusal as an error; nil without error when there is none.
func (a *API) knownModule(ctx context.Context, at actors.Address) (*eventv1.ModuleAdmitted, error) {
	var admitted *eventv1.ModuleAdmitted
	var refused *ModuleRefusal
	err := a.readFacts(ctx, at.Stream(), events.Span{Back: true, Limit: 1}, func(f events.Fact, _ events.Record) bool {
		switch f := f.(type) {
		case *eventv1.ModuleAdmitted:
			admitted = f
		case *eventv1.ModuleRefused:
			refused = &ModuleRefusal{Code: f.Code, Detail: f.Detail}
		}
		return false
	})
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	switch {
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	case admitted != nil:
		a.modules.add(admitted.Name)
	}
	return admitted, nil
}

// tryModule puts a module through the gate and the trial and stores what came out.
func (a *API) tryModule(ctx context.Context, req *operatorv1.AdmitModuleRequest) (*eventv1.AdmitModule, error) {
	checked, err := a.deps.Gate.Check(req.Module, req.Reviewed)
	if err != nil {
		return nil, err
	}
	trial, err := a.deps.Trial.Trial(ctx, req.Module, checked.Rewritten, req.Canary)
	if err != nil {
		return nil, err
	}
	ref, err := a.deps.Blobs.Put(ctx, checked.Rewritten)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(req.Module)
	return &eventv1.AdmitModule{
		Original: sum[:], Name: ref.Sha256, Rewriter: checked.Rewriter, Class: checked.Class, MemoryBytes: checked.MemoryBytes,
		CanaryFuel: trial.Fuel, Size: ref.Size, CanonicalNan: checked.CanonicalNaN,
	}, nil
}

// ListModules lists the admitted modules.
func (a *API) ListModules(ctx context.Context, req *operatorv1.ListModulesRequest) (*operatorv1.ListModulesResponse, error) {
	cursor, page, err := openPage(req.PageSize, req.PageToken, "modules")
	if err != nil {
		return nil, err
	}
	rows, next, err := a.deps.Catalogue.Modules(ctx, page)
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListModulesResponse{Modules: rows, NextPageToken: cursor.token(next)}, nil
}
