// One pre-norm transformer block with causal attention in single precision. Every sum runs in a fixed order and
// vector lanes hold independent results, so SIMD changes speed, not bits.
// Chunk: u32 tokens, width, heads, hidden; f32 x[tokens][width], qkv[width][3 width], merge[width][width],
// up[width][hidden], down[hidden][width]. Output: f32 y[tokens][width].
#include "shardy.h"

typedef f32 f32x4 __attribute__((vector_size(16)));

enum { LIMIT = 1 << 14 };

static inline f32x4 load4(const f32 *from) {
  f32x4 v;
  __builtin_memcpy(&v, from, 16);
  return v;
}

// c[m][n] = a[m][k] b[k][n], four rows by eight columns at a time; m is a multiple of 4, n of 8.
static void multiply(const f32 *a, const f32 *b, f32 *c, u32 m, u32 n, u32 k) {
  for (u32 i = 0; i < m; i += 4) {
    for (u32 j = 0; j < n; j += 8) {
      f32x4 sum[4][2] = {0};
      for (u32 l = 0; l < k; l++) {
        f32x4 b0 = load4(b + l * n + j), b1 = load4(b + l * n + j + 4);
        for (u32 r = 0; r < 4; r++) {
          f32 value = a[(i + r) * k + l];
          f32x4 row = {value, value, value, value};
          sum[r][0] += row * b0;
          sum[r][1] += row * b1;
        }
      }
      for (u32 r = 0; r < 4; r++) __builtin_memcpy(c + (i + r) * n + j, sum[r], 32);
    }
  }
}

static void normalise(const f32 *x, f32 *y, u32 rows, u32 width) {
  for (u32 t = 0; t < rows; t++, x += width, y += width) {
    f32 mean = 0, variance = 0;
    for (u32 i = 0; i < width; i++) mean += x[i];
    mean /= width;
    for (u32 i = 0; i < width; i++) variance += (x[i] - mean) * (x[i] - mean);
    f32 scale = 1 / __builtin_sqrtf(variance / width + 1e-5f);
    for (u32 i = 0; i < width; i++) y[i] = (x[i] - mean) * scale;
  }
}

static void attend(const f32 *qkv, f32 *weight, f32 *out, u32 tokens, u32 width, u32 heads) {
  u32 depth = width / heads;
  f32 scale = 1 / __builtin_sqrtf((f32)depth);
  for (u32 h = 0; h < heads; h++) {
    for (u32 t = 0; t < tokens; t++) {
      const f32 *query = qkv + t * 3 * width + h * depth;
      f32 largest = -3e38f, total = 0, *to = out + t * width + h * depth;
      for (u32 s = 0; s <= t; s++) {
        const f32 *key = qkv + s * 3 * width + width + h * depth;
        f32 dot = 0;
        for (u32 i = 0; i < depth; i++) dot += query[i] * key[i];
        weight[s] = dot * scale;
        if (weight[s] > largest) largest = weight[s];
      }
      for (u32 s = 0; s <= t; s++) total += weight[s] = shardy_expf(weight[s] - largest);
      for (u32 i = 0; i < depth; i++) to[i] = 0;
      for (u32 s = 0; s <= t; s++) {
        const f32 *value = qkv + s * 3 * width + 2 * width + h * depth;
        f32 share = weight[s] / total;
        for (u32 i = 0; i < depth; i++) to[i] += share * value[i];
      }
    }
  }
}

u64 SHARDY_EXPORT(shardy_run)(const u32 *in, u32 size) {
  if (size < 16) __builtin_trap();
  u32 tokens = in[0], width = in[1], heads = in[2], hidden = in[3];
  if (tokens > LIMIT || width > LIMIT || heads > LIMIT || hidden > LIMIT) __builtin_trap();
  if (tokens % 4 || width % 8 || hidden % 8 || !heads || width % heads) __builtin_trap();
  u64 floats = (u64)tokens * width + 4ull * width * width + 2ull * width * hidden;
  if (size != 16 + 4 * floats) __builtin_trap();
  u32 cells = tokens * width;
  const f32 *x = (const f32 *)(in + 4), *w_qkv = x + cells, *w_merge = w_qkv + 3 * width * width;
  const f32 *w_up = w_merge + width * width, *w_down = w_up + width * hidden;
  f32 *norm = shardy_take(cells * 4), *qkv = shardy_take(cells * 12), *mixed = shardy_take(cells * 4);
  f32 *weight = shardy_take(tokens * 4), *y = shardy_take(cells * 4);
  f32 *wide = shardy_take(tokens * hidden * 4), *narrow = shardy_take(cells * 4);

  normalise(x, norm, tokens, width);
  multiply(norm, w_qkv, qkv, tokens, 3 * width, width);
  attend(qkv, weight, mixed, tokens, width, heads);
  multiply(mixed, w_merge, y, tokens, width, width);
  for (u32 i = 0; i < cells; i++) y[i] += x[i];

  normalise(y, norm, tokens, width);
  multiply(norm, w_up, wide, tokens, hidden, width);
  for (u32 i = 0; i < tokens * hidden; i++) wide[i] = shardy_gelu(wide[i]);
  multiply(wide, w_down, narrow, tokens, width, hidden);
  for (u32 i = 0; i < cells; i++) y[i] += narrow[i];
  return shardy_output(y, cells * 4);
}
