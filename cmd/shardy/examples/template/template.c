// A job in ten minutes: the mean and the largest byte of every block of a chunk.
// Chunk: Header, then bytes. Output: one Block per `block` bytes, the last one may be shorter.
#include "shardy.h"

typedef struct {
  u32 block; // bytes
  u32 zero;
} Header;

typedef struct {
  u32 mean; // in 1/65536
  u32 largest;
} Block;

u64 SHARDY_EXPORT(shardy_run)(const Header *in, u32 size) {
  if (size < sizeof(Header) || in->block == 0) __builtin_trap(); // check everything: the chunk is all you know
  const u8 *bytes = (const u8 *)(in + 1);
  u32 left = size - sizeof(Header), blocks = left / in->block + (left % in->block != 0);
  Block *out = shardy_take(blocks * sizeof(Block));
  for (u32 i = 0; i < blocks; i++) {
    u32 count = left < in->block ? left : in->block, largest = 0;
    u64 sum = 0;
    for (u32 k = 0; k < count; k++) {
      sum += bytes[k];
      if (bytes[k] > largest) largest = bytes[k];
    }
    out[i] = (Block){(u32)((sum << 16) / count), largest};
    bytes += count;
    left -= count;
  }
  return shardy_output(out, blocks * sizeof(Block));
}
