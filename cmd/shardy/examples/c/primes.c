// Counts the primes in [low, high) with a segmented sieve of Eratosthenes; high is at most 2^32.
// Chunk: u64 low, u64 high. Output: u64 primes, u64 twin pairs inside the range, u64 last prime, u64 sum mod 2^64.
#include "shardy.h"

enum { SEGMENT = 65536, SMALL_PRIMES = 6542 }; // primes below 65536

static u8 composite[SEGMENT];
static u32 small[SMALL_PRIMES];

static void find_small_primes(void) {
  u32 count = 0;
  for (u32 i = 2; i < SEGMENT; i++) {
    if (composite[i]) continue;
    small[count++] = i;
    if (i >= 256) continue;
    for (u32 j = i * i; j < SEGMENT; j += i) composite[j] = 1;
  }
}

static void sieve(u64 from, u64 to) {
  u32 size = (u32)(to - from);
  __builtin_memset(composite, 0, size);
  for (u32 k = 0; k < SMALL_PRIMES; k++) {
    u64 p = small[k];
    if (p * p >= to) break;
    u64 first = p * p > from ? p * p : (from + p - 1) / p * p;
    for (u64 j = first - from; j < size; j += p) composite[j] = 1;
  }
}

u64 SHARDY_EXPORT(shardy_run)(const u64 *range, u32 size) {
  if (size != 16) __builtin_trap();
  u64 low = range[0], high = range[1];
  if (high > 1ull << 32 || low >= high) __builtin_trap();
  u64 *out = shardy_take(32), count = 0, twins = 0, last = 0, sum = 0;
  find_small_primes();
  for (u64 from = low < 2 ? 2 : low; from < high; from += SEGMENT) {
    u64 to = from + SEGMENT < high ? from + SEGMENT : high;
    sieve(from, to);
    for (u64 p = from; p < to; p++) {
      if (composite[p - from]) continue;
      count++;
      sum += p;
      if (last && p - last == 2) twins++;
      last = p;
    }
  }
  out[0] = count;
  out[1] = twins;
  out[2] = last;
  out[3] = sum;
  return shardy_output(out, 32);
}
