// Shardy job interface, version 1. A job is one WebAssembly module without imports and with one memory of fixed
// size. For every chunk the host makes a fresh instance, asks shardy_alloc for room, copies the chunk there and
// calls shardy_run(chunk, length). The answer names the output: address in the upper 32 bits, length in the
// lower. A trap is a deterministic failure of the job. There is no clock, no randomness and no libc: whatever
// is needed is computed from the chunk with + - * / and square roots, so all machines agree bit for bit.
#ifndef SHARDY_H
#define SHARDY_H
typedef unsigned char u8;   typedef signed char i8;   typedef unsigned short u16;     typedef short i16;
typedef unsigned int u32;   typedef int i32;          typedef unsigned long long u64; typedef long long i64;
typedef float f32;          typedef double f64;
#define SHARDY_EXPORT(name) __attribute__((export_name(#name))) name

extern u8 __heap_base;
static u32 shardy_top;
static inline void *shardy_take(u32 size) { // zeroed, 64-byte aligned, never freed: the instance is short-lived
  u64 start = ((shardy_top ? shardy_top : (u32)&__heap_base) + 63u) & ~63u;
  if (start + size > (u64)__builtin_wasm_memory_size(0) << 16) __builtin_trap();
  shardy_top = (u32)(start + size);
  return (void *)(u32)start;
}
void *SHARDY_EXPORT(shardy_alloc)(u32 size) { return shardy_take(size); }
static inline u64 shardy_output(const void *at, u32 size) { return (u64)(u32)at << 32 | size; }

static inline u32 f32_bits(f32 x) { u32 u; __builtin_memcpy(&u, &x, 4); return u; }
static inline f32 f32_from(u32 u) { f32 x; __builtin_memcpy(&x, &u, 4); return x; }
static inline u64 f64_bits(f64 x) { u64 u; __builtin_memcpy(&u, &x, 8); return u; }
static inline f64 f64_from(u64 u) { f64 x; __builtin_memcpy(&x, &u, 8); return x; }

static inline f32 shardy_expf(f32 x) { // 2^k e^r, the power of e by a polynomial in double precision
  if (x != x) return x;
  if (x > 88.72283f) return f32_from(0x7f800000u);
  if (x < -103.97f) return 0;
  f64 k = __builtin_rint(x * 1.4426950408889634074), r = x - k * 0.69314718055994530942;
  f64 p = 1 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720 + r / 5040)))));
  return (f32)((1 + r * p) * f64_from((u64)((i64)k + 1023) << 52));
}
static inline f32 shardy_tanhf(f32 x) {
  f32 e = shardy_expf(2 * x);
  return e == f32_from(0x7f800000u) ? 1 : (e - 1) / (e + 1);
}
static inline f32 shardy_gelu(f32 x) { return 0.5f * x * (1 + shardy_tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); }
#endif
