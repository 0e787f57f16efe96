// Some rows of an int8 matrix product: c[rows][columns] = a[rows][inner] b[inner][columns].
// Chunk: u32 rows, inner, columns, zero; i8 a, row by row; i8 b, row by row. Output: i32 c, row by row.
// The result is exact for inner <= 2^17, so the orchestrator can check it by Freivalds' method without
// computing it again.
#include "shardy.h"

typedef i16 i16x8 __attribute__((vector_size(16)));
typedef i32 i32x4 __attribute__((vector_size(16)));

enum { LIMIT = 1 << 16, COLUMNS = 4 };

// Four scalar products of one row with four neighbouring columns, which share the loads of the row. The lanes
// wrap around, so their order does not matter.
static inline void multiply(const i16x8 *row, const i16x8 *columns, u32 vectors, i32 *to, u32 count) {
  i32x4 sum[COLUMNS] = {0};
  for (u32 k = 0; k < vectors; k++) {
    for (u32 j = 0; j < COLUMNS; j++) sum[j] += __builtin_wasm_dot_s_i32x4_i16x8(row[k], columns[j * vectors + k]);
  }
  for (u32 j = 0; j < count; j++) to[j] = sum[j][0] + sum[j][1] + sum[j][2] + sum[j][3];
}

u64 SHARDY_EXPORT(shardy_run)(const u32 *in, u32 size) {
  if (size < 16) __builtin_trap();
  u32 rows = in[0], inner = in[1], columns = in[2];
  if (!rows || !inner || !columns || rows > LIMIT || inner > LIMIT || columns > LIMIT || in[3]) __builtin_trap();
  if (size != 16 + (u64)rows * inner + (u64)inner * columns) __builtin_trap();
  u64 bytes = 4ull * rows * columns;
  if (bytes > 1u << 30) __builtin_trap();
  const i8 *a = (const i8 *)(in + 4), *b = a + rows * inner;

  // Columns of b become rows of 16-bit numbers, padded to whole vectors, and their number to a multiple of four.
  u32 vectors = (inner + 7) / 8, padded = vectors * 8, wide = (columns + COLUMNS - 1) / COLUMNS * COLUMNS;
  if ((u64)padded * wide > 1u << 29) __builtin_trap();
  i16 *turned = shardy_take(padded * wide * 2), *row = shardy_take(padded * 2);
  for (u32 k = 0; k < inner; k++) {
    for (u32 j = 0; j < columns; j++) turned[j * padded + k] = b[k * columns + j];
  }
  i32 *c = shardy_take((u32)bytes), *to = c;
  for (u32 i = 0; i < rows; i++) {
    for (u32 k = 0; k < inner; k++) row[k] = a[i * inner + k];
    for (u32 j = 0; j < columns; j += COLUMNS, to += COLUMNS) {
      u32 count = columns - j < COLUMNS ? columns - j : COLUMNS;
      multiply((const i16x8 *)row, (const i16x8 *)(turned + j * padded), vectors, to, count);
      if (count < COLUMNS) to -= COLUMNS - count;
    }
  }
  return shardy_output(c, (u32)bytes);
}
