// Some rows of an int8 matrix product: c[rows][columns] = a[rows][inner] b[inner][columns].
// Chunk: u32 rows, inner, columns, zero; i8 a, row by row; i8 b, row by row. Output: i32 c, row by row.
// The result is exact for inner <= 2^17, so the orchestrator can check it by Freivalds' method without
// computing it again.
#include "shardy.h"

enum { LIMIT = 1 << 16 };

u64 SHARDY_EXPORT(shardy_run)(const u32 *in, u32 size) {
  if (size < 16) __builtin_trap();
  u32 rows = in[0], inner = in[1], columns = in[2];
  if (!rows || !inner || !columns || rows > LIMIT || inner > LIMIT || columns > LIMIT || in[3]) __builtin_trap();
  if (size != 16 + (u64)rows * inner + (u64)inner * columns) __builtin_trap();
  u64 bytes = 4ull * rows * columns;
  if (bytes > 1u << 30) __builtin_trap();
  const i8 *a = (const i8 *)(in + 4), *b = a + rows * inner;

  // Columns of b become rows of 16-bit numbers, padded to whole vectors: the inner loop is then a chain of
  // i32x4.dot_i16x8 over consecutive memory.
  u32 padded = (inner + 7) & ~7u;
  if ((u64)padded * columns > 1u << 29) __builtin_trap();
  i16 *turned = shardy_take(padded * columns * 2), *row = shardy_take(padded * 2);
  for (u32 k = 0; k < inner; k++) {
    for (u32 j = 0; j < columns; j++) turned[j * padded + k] = b[k * columns + j];
  }
  i32 *c = shardy_take((u32)bytes), *to = c;
  for (u32 i = 0; i < rows; i++) {
    for (u32 k = 0; k < inner; k++) row[k] = a[i * inner + k];
    for (u32 j = 0; j < columns; j++) {
      const i16 *column = turned + j * padded;
      i32 sum = 0;
      for (u32 k = 0; k < padded; k++) sum += (i32)row[k] * column[k];
      *to++ = sum;
    }
  }
  return shardy_output(c, (u32)bytes);
}
