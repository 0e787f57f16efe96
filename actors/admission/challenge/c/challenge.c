// The two measurements behind a worker's admission, as a job module. Nothing can be prepared: all work follows
// from the nonce.
// Chunk: u32 mode, u32 size, u64 nonce[4]. Output: u64 digest[4].
// Mode 1, compute: `size` dependent rounds of a 128 x 128 single-precision matrix product.
// Mode 2, memory: a fill of `size` blocks of 1 KiB, each made of its predecessor and an earlier block that the
// data choose (as in Argon2d, RFC 9106), then 4,096 dependent look-ups.
#include "shardy.h"

typedef struct {
  u32 mode, size;
  u64 nonce[4];
} Question;

typedef f32 f32x4 __attribute__((vector_size(16)));

enum { COMPUTE = 1, MEMORY = 2, SIDE = 128, CELLS = SIDE * SIDE, WORDS = 128, PROBES = 4096 };

static const u64 golden = 0x9E3779B97F4A7C15ull;

// SplitMix64 (Steele, Lea, Flood 2014).
static u64 state;

static inline u64 random(void) {
  u64 z = state += golden;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

static inline u64 fold(u64 hash, u64 value) {
  hash = (hash ^ value) * golden;
  return hash ^ hash >> 29;
}

static f32 a[CELLS] __attribute__((aligned(64)));
static f32 b[CELLS] __attribute__((aligned(64)));
static f32 c[CELLS] __attribute__((aligned(64)));

// Numbers in [-1, 1) times a factor.
static void fill_matrix(f32 *matrix, f32 factor) {
  for (u32 i = 0; i < CELLS; i++) matrix[i] = (f32)((i32)(random() >> 40) - (1 << 23)) * (1.0f / (1 << 23)) * factor;
}

static void multiply(void) {
  for (u32 i = 0; i < SIDE; i += 4) {
    for (u32 j = 0; j < SIDE; j += 8) {
      f32x4 sum[4][2] = {0};
      for (u32 k = 0; k < SIDE; k++) {
        f32x4 b0 = *(const f32x4 *)(b + k * SIDE + j), b1 = *(const f32x4 *)(b + k * SIDE + j + 4);
        for (u32 r = 0; r < 4; r++) {
          f32 value = a[(i + r) * SIDE + k];
          f32x4 row = {value, value, value, value};
          sum[r][0] += row * b0;
          sum[r][1] += row * b1;
        }
      }
      for (u32 r = 0; r < 4; r++) {
        *(f32x4 *)(c + (i + r) * SIDE + j) = sum[r][0];
        *(f32x4 *)(c + (i + r) * SIDE + j + 4) = sum[r][1];
      }
    }
  }
}

// Every round's second matrix follows from all results before it; the first is the last product, clamped so that
// no number ever becomes infinite.
static u64 compute(u64 seed, u32 rounds) {
  state = seed;
  fill_matrix(a, 1);
  u64 hash = seed;
  for (u32 round = 0; round < rounds; round++) {
    state = hash ^ round;
    fill_matrix(b, 0.15f);
    multiply();
    for (u32 i = 0; i < CELLS; i += 2) hash = fold(hash, (u64)f32_bits(c[i]) << 32 | f32_bits(c[i + 1]));
    for (u32 i = 0; i < CELLS; i++) a[i] = c[i] > 1 ? 1 : c[i] < -1 ? -1 : c[i];
  }
  return hash;
}

static void mix(u64 *to, const u64 *before, const u64 *earlier, u64 tweak) {
  for (u32 i = 0; i < WORDS; i += 2) {
    u64 x = ((before[i] ^ earlier[i + 1]) ^ tweak) * golden;
    u64 y = ((before[i + 1] + earlier[i]) ^ x >> 31) * 0xD6E8FEB86659FD93ull;
    x += y >> 27;
    to[i] = x;
    to[i + 1] = y ^ y >> 32;
    tweak = tweak * 5 + y;
  }
}

static u64 fill_memory(u64 seed, u32 blocks) {
  if (blocks == 0 || blocks > 2u << 20) __builtin_trap();
  u64 *memory = shardy_take(blocks * (u32)(WORDS * sizeof(u64)));
  state = seed;
  for (u32 i = 0; i < WORDS; i++) memory[i] = random();
  for (u32 i = 1; i < blocks; i++) {
    u64 *block = memory + i * WORDS;
    const u64 *before = block - WORDS;
    u32 earlier = (u32)((before[0] & 0xffffffffu) * i >> 32);
    mix(block, before, memory + earlier * WORDS, i);
  }
  u64 hash = memory[blocks * WORDS - 1];
  for (u32 probe = 0; probe < PROBES; probe++) {
    const u64 *block = memory + (u32)((hash >> 32) * blocks >> 32) * WORDS;
    hash = fold(hash ^ block[hash % WORDS], block[hash / WORDS % WORDS] + probe);
  }
  return hash;
}

u64 SHARDY_EXPORT(shardy_run)(const Question *question, u32 size) {
  if (size != sizeof(Question)) __builtin_trap();
  u64 seed = 0;
  for (u32 i = 0; i < 4; i++) seed = fold(seed, question->nonce[i]);
  u64 hash;
  switch (question->mode) {
  case COMPUTE: hash = compute(seed, question->size); break;
  case MEMORY: hash = fill_memory(seed, question->size); break;
  default: __builtin_trap();
  }
  u64 *digest = shardy_take(32);
  for (u32 i = 0; i < 4; i++) digest[i] = hash = fold(hash, question->nonce[i] + i);
  return shardy_output(digest, 32);
}
