package operator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/actors/module"
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
// is not recorded. The first verdict of a version of the rewriter stands.
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
	if known == nil && err == nil {
		known, err = a.judgeModule(ctx, at, req)
	}
	if err != nil {
		return nil, err
	}
	a.modules.add(known.Name)
	return &operatorv1.AdmitModuleResponse{Module: known}, nil
}

// knownModule answers with the verdict of this version of the rewriter, a refusal as an error; nil without error when
// there is none.
func (a *API) knownModule(ctx context.Context, at actors.Address) (admitted *eventv1.ModuleAdmitted, err error) {
	var verdict events.Fact
	err = a.readFacts(ctx, at.Stream(), events.Span{Back: true, Limit: 1}, func(f events.Fact, _ events.Record) bool {
		verdict = f
		return false
	})
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if v, ok := verdict.(interface{ GetRewriter() uint32 }); ok && v.GetRewriter() < wasm.RewriterVersion {
		return nil, nil
	}
	return moduleVerdict(verdict)
}

// moduleVerdict reads a verdict: what the module's room answers and records.
func moduleVerdict(v any) (*eventv1.ModuleAdmitted, error) {
	switch v := v.(type) {
	case *eventv1.ModuleAdmitted:
		return v, nil
	case *eventv1.ModuleRefused:
		return nil, &ModuleRefusal{Code: v.Code, Detail: v.Detail}
	default:
		return nil, fmt.Errorf("%w: a module's verdict is %T", events.ErrMalformed, v)
	}
}

// judgeModule tries a module and has the verdict recorded.
func (a *API) judgeModule(ctx context.Context, at actors.Address, req *operatorv1.AdmitModuleRequest) (*eventv1.ModuleAdmitted, error) {
	sum := sha256.Sum256(req.Module)
	cmd := &eventv1.Command{}
	admit, err := a.tryModule(ctx, req)
	if r, ok := errors.AsType[*ModuleRefusal](err); ok {
		cmd.Kind = &eventv1.Command_RefuseModule{RefuseModule: &eventv1.RefuseModule{
			Original: sum[:], Code: r.Code, Detail: shorten(r.Detail, module.MaxDetail), Rewriter: wasm.RewriterVersion,
		}}
	} else if err != nil {
		return nil, err
	} else {
		admit.Original = sum[:]
		cmd.Kind = &eventv1.Command_AdmitModule{AdmitModule: admit}
	}
	verdict, err := a.deps.Orchestrator.Do(ctx, at, cmd)
	if err != nil {
		return nil, err
	}
	return moduleVerdict(verdict)
}

// shorten cuts text to a limit of bytes, at the end of a character.
func shorten(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > limit {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

var moduleClasses = map[wasm.Class]eventv1.ModuleClass{
	wasm.Integer:     eventv1.ModuleClass_MODULE_CLASS_INTEGER,
	wasm.Float:       eventv1.ModuleClass_MODULE_CLASS_FLOAT,
	wasm.FloatVector: eventv1.ModuleClass_MODULE_CLASS_VECTOR,
}

// tryModule lints, rewrites and tries a module, and stores what came out.
func (a *API) tryModule(ctx context.Context, req *operatorv1.AdmitModuleRequest) (*eventv1.AdmitModule, error) {
	info, err := wasm.Lint(req.Module, wasm.Limits{})
	if err != nil {
		return nil, moduleRefusal(err)
	}
	canonical := info.Class != wasm.Integer && !req.Reviewed
	rewritten, err := wasm.Rewrite(req.Module, wasm.Options{CanonicalNaN: canonical})
	if err != nil {
		return nil, moduleRefusal(err)
	}
	trial, err := a.deps.Trial.Trial(ctx, req.Module, rewritten, req.Canary)
	if err != nil {
		return nil, err
	}
	ref, err := a.keep(ctx, rewritten)
	if err != nil {
		return nil, err
	}
	return &eventv1.AdmitModule{
		Name: ref.Sha256, Rewriter: wasm.RewriterVersion, Class: moduleClasses[info.Class],
		MemoryBytes: uint64(info.MemoryPages) << 16, CanaryFuel: trial.Fuel, Size: ref.Size, CanonicalNan: canonical,
	}, nil
}

// moduleRefusal turns what lint or rewriter found into a refusal whose code is the reason's name.
func moduleRefusal(err error) error {
	for _, r := range moduleReasons {
		if errors.Is(err, r.err) {
			return &ModuleRefusal{Code: r.code, Detail: err.Error()}
		}
	}
	return err
}

var moduleReasons = []struct {
	err  error
	code string
}{
	{wasm.ErrMalformed, "malformed"},
	{wasm.ErrUnsupported, "unsupported"},
	{wasm.ErrTooLarge, "too_large"},
	{wasm.ErrComplex, "complex"},
	{wasm.ErrImports, "imports"},
	{wasm.ErrMemory, "memory"},
	{wasm.ErrTable, "table"},
	{wasm.ErrStart, "start"},
	{wasm.ErrExports, "exports"},
	{wasm.ErrSegment, "segment"},
	{wasm.ErrRecursion, "recursion"},
	{wasm.ErrThreads, "threads"},
	{wasm.ErrRelaxedSIMD, "relaxed_simd"},
	{wasm.ErrReserved, "reserved"},
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
