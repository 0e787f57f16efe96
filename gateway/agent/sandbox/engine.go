package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// fuelGlobal is the counter that actors/admission/wasm adds to a module.
const fuelGlobal = "__shardy_fuel"

// engine compiles and runs modules inside the child.
type engine struct {
	config      wazero.RuntimeConfig
	compiler    wazero.Runtime
	interpreter wazero.Runtime // nil until a task asks for it
	cache       wazero.CompilationCache
	memories    experimental.MemoryAllocator
	modules     map[[32]byte]*module
}

type module struct {
	bytes       []byte
	compiled    wazero.CompiledModule
	interpreted wazero.CompiledModule // nil until a task asks for it
}

func newEngine(cfg childConfig) (*engine, error) {
	e := &engine{memories: newAllocator(), modules: map[[32]byte]*module{}}
	ctx := context.Background()
	config := wazero.NewRuntimeConfig()
	if cfg.cacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(cfg.cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open compilation cache: %w", err)
		}
		e.cache = cache
		config = config.WithCompilationCache(cache)
	}
	e.config = wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(cfg.maxPages)
	e.compiler = wazero.NewRuntimeWithConfig(ctx,
		config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(cfg.maxPages))
	return e, nil
}

func (e *engine) close(ctx context.Context) {
	_ = e.compiler.Close(ctx)
	if e.interpreter != nil {
		_ = e.interpreter.Close(ctx)
	}
	if e.cache != nil {
		_ = e.cache.Close(ctx)
	}
}

// load compiles a module; the engine keeps the bytes.
func (e *engine) load(ctx context.Context, name [32]byte, code []byte) error {
	if _, ok := e.modules[name]; ok {
		return nil
	}
	compiled, err := compile(ctx, e.compiler, code)
	if err != nil {
		return err
	}
	e.modules[name] = &module{bytes: code, compiled: compiled}
	return nil
}

func (e *engine) drop(ctx context.Context, name [32]byte) error {
	m, ok := e.modules[name]
	if !ok {
		return nil
	}
	delete(e.modules, name)
	err := m.compiled.Close(ctx)
	if m.interpreted != nil {
		err = errors.Join(err, m.interpreted.Close(ctx))
	}
	return err
}

func compile(ctx context.Context, runtime wazero.Runtime, code []byte) (m wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p, ErrCompile)
		}
	}()
	m, err = runtime.CompileModule(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCompile, err)
	}
	return m, nil
}

// engineFor returns the runtime and the compiled form of a module that a task needs.
func (e *engine) engineFor(ctx context.Context, r runRequest) (wazero.Runtime, wazero.CompiledModule, error) {
	m, ok := e.modules[r.module]
	if !ok {
		return nil, nil, fmt.Errorf("%w: %x", ErrNotLoaded, r.module)
	}
	if !r.interpreter {
		return e.compiler, m.compiled, nil
	}
	if e.interpreter == nil {
		e.interpreter = wazero.NewRuntimeWithConfig(ctx, e.config)
	}
	if m.interpreted == nil {
		compiled, err := compile(ctx, e.interpreter, m.bytes)
		if err != nil {
			return nil, nil, err
		}
		m.interpreted = compiled
	}
	return e.interpreter, m.interpreted, nil
}

// run executes a task in a fresh instance and hands the verdict to report while the instance's memory, which
// the output points into, is still there.
func (e *engine) run(ctx context.Context, r runRequest, report func(Result) error) error {
	runtime, compiled, err := e.engineFor(ctx, r)
	if err != nil {
		return err
	}
	instance, err := e.instantiate(ctx, runtime, compiled)
	if err != nil {
		return err
	}
	defer func() { _ = instance.Close(ctx) }()
	job, err := bind(instance, r)
	if err != nil {
		return err
	}
	result, err := job.execute(ctx, r)
	if err != nil {
		return err
	}
	return report(result)
}

func (e *engine) instantiate(ctx context.Context, runtime wazero.Runtime, m wazero.CompiledModule) (instance api.Module, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p, ErrMemory) // the allocator had nothing to give
		}
	}()
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	instance, err = runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, e.memories), m, config)
	if err != nil {
		return nil, fmt.Errorf("%w: instantiate: %w", ErrABI, err)
	}
	return instance, nil
}

// job is an instance with the parts of the job interface at hand.
type job struct {
	alloc, start api.Function
	memory       api.Memory
	fuel         api.MutableGlobal // nil when the task is unmetered
}

func bind(instance api.Module, r runRequest) (job, error) {
	j := job{
		alloc:  instance.ExportedFunction("shardy_alloc"),
		start:  instance.ExportedFunction("shardy_run"),
		memory: instance.ExportedMemory("memory"),
	}
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	switch {
	case j.memory == nil:
		return j, fmt.Errorf("%w: no exported memory", ErrABI)
	case !hasSignature(j.alloc, []api.ValueType{i32}, []api.ValueType{i32}):
		return j, fmt.Errorf("%w: no shardy_alloc(i32) -> i32", ErrABI)
	case !hasSignature(j.start, []api.ValueType{i32, i32}, []api.ValueType{i64}):
		return j, fmt.Errorf("%w: no shardy_run(i32, i32) -> i64", ErrABI)
	}
	counter := instance.ExportedGlobal(fuelGlobal)
	if r.unmetered {
		if counter != nil {
			return j, fmt.Errorf("%w: metered module in an unmetered task", ErrUnmetered)
		}
		return j, nil
	}
	fuel, ok := counter.(api.MutableGlobal)
	if !ok || fuel.Type() != i64 {
		return j, fmt.Errorf("%w: no %s", ErrUnmetered, fuelGlobal)
	}
	fuel.Set(r.fuel)
	j.fuel = fuel
	return j, nil
}

func hasSignature(f api.Function, params, results []api.ValueType) bool {
	if f == nil {
		return false
	}
	d := f.Definition()
	return string(d.ParamTypes()) == string(params) && string(d.ResultTypes()) == string(results)
}

// execute runs shardy_alloc and shardy_run. Its error is a failure of this worker.
func (j job) execute(ctx context.Context, r runRequest) (Result, error) {
	size := uint64(len(r.input))
	at, err := call(ctx, j.alloc, size)
	if err != nil {
		return j.trapped(err, r)
	}
	if !j.memory.Write(uint32(at), r.input) {
		return j.result(BadOutput, r, fmt.Sprintf("shardy_alloc(%d) returned %d, outside the memory", size, uint32(at))), nil
	}
	ret, err := call(ctx, j.start, uint64(uint32(at)), size)
	if err != nil {
		return j.trapped(err, r)
	}
	start, length := uint32(ret>>32), uint32(ret)
	if uint64(length) > r.maxOutput {
		return j.result(BadOutput, r, fmt.Sprintf("output of %d bytes, limit %d", length, r.maxOutput)), nil
	}
	output, ok := j.memory.Read(start, length)
	if !ok {
		return j.result(BadOutput, r, fmt.Sprintf("output [%d, +%d) lies outside the memory", start, length)), nil
	}
	result := j.result(OK, r, "")
	result.Output = output
	return result, nil
}

// result fills in the fuel. The counter is negative only after it ran out, which is reported as the limit.
func (j job) result(status Status, r runRequest, detail string) Result {
	v := Result{Status: status, Detail: detail}
	if j.fuel != nil {
		v.FuelUsed = r.fuel - j.fuel.Get()
		if int64(j.fuel.Get()) < 0 {
			v.FuelUsed = r.fuel
		}
	}
	return v
}

// trapTexts are wazero's names of the traps that the specification makes deterministic.
var trapTexts = map[string]bool{
	"unreachable":                   true,
	"integer overflow":              true,
	"integer divide by zero":        true,
	"invalid conversion to integer": true,
	"out of bounds memory access":   true,
	"invalid table access":          true,
	"indirect call type mismatch":   true,
}

func (j job) trapped(err error, r runRequest) (Result, error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text, isTrap := strings.CutPrefix(text, "wasm error: ")
	text = strings.TrimSpace(text)
	switch {
	case isTrap && j.fuel != nil && int64(j.fuel.Get()) < 0:
		return j.result(OutOfFuel, r, fmt.Sprintf("fuel limit %d used up", r.fuel)), nil
	case isTrap && trapTexts[text]:
		return j.result(Trap, r, text), nil
	case text == "stack overflow":
		return Result{}, ErrStackOverflow
	}
	return Result{}, fmt.Errorf("%w: %s", ErrCrashed, text)
}

func call(ctx context.Context, f api.Function, args ...uint64) (ret uint64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p, ErrCrashed)
		}
	}()
	results, err := f.Call(ctx, args...)
	if err != nil {
		return 0, err
	}
	return results[0], nil
}

// recovered turns a panic of the engine into an error, by default of the given kind.
func recovered(p any, kind error) error {
	text := fmt.Sprint(p)
	if mentionsMemory(text) {
		kind = ErrMemory
	}
	return fmt.Errorf("%w: %.256s", kind, text)
}
